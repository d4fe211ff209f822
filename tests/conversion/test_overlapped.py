"""Work in a thread: the same items, a bounded number ahead, and an end that reaches everybody."""

import threading

import pytest

from tokjax.conversion.overlapped import ahead


def counted(made, stop=10):
    try:
        for number in range(stop):
            made.append(number)
            yield number
    finally:
        made.append("closed")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_same_items_and_never_more_than_so_many_ahead(count):
    made = []
    for taken, item in enumerate(ahead(counted(made), count)):
        assert item == taken and len(made) <= taken + 1 + count + ("closed" in made)
    assert made == [*range(10), "closed"]


def test_the_next_item_is_made_while_this_one_is_used():
    begun = threading.Event()

    def items():
        yield 1
        begun.set()
        yield 2

    taken = ahead(items(), 1)
    assert next(taken) == 1
    assert begun.wait(20)
    assert list(taken) == [2]


def test_an_error_comes_out_where_the_items_are_taken():
    def items():
        yield 1
        raise KeyError("of the thread")

    taken = ahead(ahead(items(), 2), 2)
    assert next(taken) == 1
    with pytest.raises(KeyError, match="of the thread"):
        next(taken)


def test_closing_ends_all_threads():
    made, before = [], threading.active_count()
    taken = ahead((item for item in ahead(counted(made, 10**9), 2)), 2)
    next(taken)
    assert threading.active_count() == before + 2
    taken.close()
    assert threading.active_count() == before
    assert made[-1] == "closed" and len(made) < 20
