import numpy as np

from tokjax.evaluation.examples import MIDDLE_CANDIDATES, Examples, Picture


def seen(scores):
    """Examples of clips with these scores, whose pixels are their number."""
    examples = Examples()
    for number, psnr in enumerate(scores):
        if roles := examples.wants(f"clip{number}", psnr):
            frame = np.full((1, 1, 1, 3), number, np.uint8)
            examples.add(roles, psnr, Picture(f"clip{number}", frame, frame))
    return examples


def test_best_worst_and_middle():
    scores = np.random.default_rng(0).permutation(np.linspace(10, 40, 7))
    found = {picture.note: picture.name for picture in seen(scores).pictures()}
    by_score = {f"{psnr:.2f}": f"clip{number}" for number, psnr in enumerate(scores)}
    assert found == {
        f"{role}, {psnr} dB": by_score[psnr]
        for role, psnr in (("best", "40.00"), ("worst", "10.00"), ("near the median", "25.00"))
    }


def test_memory_is_bounded_and_order_does_not_matter():
    scores = np.random.default_rng(0).uniform(10, 40, 200)
    examples = seen(scores)
    assert len(examples.kept) == MIDDLE_CANDIDATES + 2
    middle = examples.pictures()[-1]
    assert abs(float(middle.note.split(", ")[1].split()[0]) - np.median(scores)) < 6
    backwards = Examples()
    for number in reversed(range(200)):
        if roles := backwards.wants(f"clip{number}", scores[number]):
            frame = np.full((1, 1, 1, 3), number, np.uint8)
            backwards.add(roles, scores[number], Picture(f"clip{number}", frame, frame))
    assert [one.name for one in backwards.pictures()] == [one.name for one in examples.pictures()]


def test_a_clip_is_shown_once():
    assert [one.name for one in seen([20.0]).pictures()] == ["clip0"]
    assert Examples().pictures() == []
