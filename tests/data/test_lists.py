"""Lists and tables: each published format, labels, and what is refused or left out."""

import pytest

from tokjax.data.lists import Entry, list_folder, list_table
from tokjax.data.records import DataError


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def table(tmp_path, name, text, encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


def test_the_class_of_a_file_is_its_folder_where_all_have_one(tmp_path):
    root = files(tmp_path / "train", "n02/b.JPEG", "n01/a.JPEG", "n02/a.JPEG", "n01/notes.txt")
    listing = list_folder(root, "images")
    assert [(entry.path, entry.label) for entry in listing.entries] == [("n01/a.JPEG", 0), ("n02/a.JPEG", 1), ("n02/b.JPEG", 1)]
    assert listing.classes == ["n01", "n02"]
    files(root, "loose.png")
    assert {entry.label for entry in list_folder(root, "images").entries} == {None}


KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
riding a bike,-abc_DEF123,10,20,train,0
archery,xyz00000000,0,10,train,0
archery,gone0000000,3,13,train,0
zumba,xyz00000000,0,10,train,1
archery,whole000000,4.5,14.5,train,0
archery,whole000000,20,30,train,0
archery,odd00000000,,10,train,0
archery,back0000000,9,3,train,0
"""


def test_kinetics_finds_cut_and_whole_videos_in_any_of_the_usual_folders(tmp_path):
    root = files(
        tmp_path / "k400",
        "riding_a_bike/-abc_DEF123_000010_000020.mp4",
        "archery/xyz00000000_000000_000010.mkv",
        "zumba/xyz00000000_000000_000010.mkv",
        "whole000000.mp4",
        "odd00000000.mp4",
        "back0000000.mp4",
    )
    listing = list_table(root, table(tmp_path, "train.csv", KINETICS), "videos")
    assert listing.classes == ["archery", "riding a bike", "zumba"]
    assert listing.entries == [
        Entry("riding_a_bike/-abc_DEF123_000010_000020.mp4", "riding_a_bike/-abc_DEF123_000010_000020.mp4", 1),
        Entry("archery/xyz00000000_000000_000010.mkv", "archery/xyz00000000_000000_000010.mkv", 0),
        Entry("zumba/xyz00000000_000000_000010.mkv", "zumba/xyz00000000_000000_000010.mkv", 2),
        Entry("whole000000.mp4", "whole000000.mp4@4.5-14.5", 0, 4.5, 14.5),
        Entry("whole000000.mp4", "whole000000.mp4@20-30", 0, 20.0, 30.0),
    ]
    assert listing.left_out == [
        ("gone0000000", "missing", "there is neither a file gone0000000_000003_000013.* nor gone0000000.*"),
        ("odd00000000", "missing", "has no times"),
        ("back0000000", "missing", "has the times 9 to 3"),
    ]


def test_a_kinetics_table_without_any_video_is_refused(tmp_path):
    root = files(tmp_path / "k400", "other.mp4")
    with pytest.raises(DataError, match=r"no video of the 8 rows of .*train\.csv lies below .*k400: the first is '-abc"):
        list_table(root, table(tmp_path, "train.csv", KINETICS), "videos")


@pytest.mark.parametrize("name", ["trainlist01.txt", "train.lst"])
def test_ucf_101_and_lists_of_paths(tmp_path, name):
    root = files(tmp_path / "ucf", "Archery/v_a b_1.avi", "Yo Yo/v_c_2.avi")
    listing = list_table(root, table(tmp_path, name, "Yo Yo/v_c_2.avi 101\n\nArchery/v_a b_1.avi 3\n"), "videos")
    assert [(entry.path, entry.label) for entry in listing.entries] == [("Yo Yo/v_c_2.avi", 1), ("Archery/v_a b_1.avi", 0)]
    assert listing.classes == ["Archery", "Yo Yo"]


def test_omnitokenizers_lists_have_tabs_and_images_the_label_in_them(tmp_path):
    root = files(tmp_path / "all", "n1/a 1.JPEG", "n0/b.JPEG", "k/one.mp4", "j/two.mp4")
    images = list_table(root, table(tmp_path, "imagenet.csv", "n1/a 1.JPEG\t7\nn0/b.JPEG\t0\n"), "images")
    assert [(entry.path, entry.label) for entry in images.entries] == [("n1/a 1.JPEG", 7), ("n0/b.JPEG", 0)]
    videos = list_table(root, table(tmp_path, "k600.txt", "k/one.mp4\t55\nj/two.mp4\t44\n"), "videos")
    assert [(entry.path, entry.label) for entry in videos.entries] == [("k/one.mp4", 1), ("j/two.mp4", 0)]


def test_a_row_that_comes_twice_counts_once(tmp_path):
    root = files(tmp_path / "films", "a.mp4", "b.mp4")
    listing = list_table(root, table(tmp_path, "films.csv", "videos\na.mp4\nb.mp4\na.mp4\n"), "videos")
    assert [entry.path for entry in listing.entries] == ["a.mp4", "b.mp4"]
    assert listing.left_out == [("a.mp4", "duplicate", "is listed more than once")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_names_beyond_ascii(tmp_path, encoding):
    root = files(tmp_path / "films", "café/Ærø 1.mp4")
    listing = list_table(root, table(tmp_path, "films.csv", "videos\ncafé/Ærø 1.mp4\n", encoding), "videos")
    assert [entry.path for entry in listing.entries] == ["café/Ærø 1.mp4"]
    other = files(tmp_path / "東京", "映画.mp4")
    assert list_table(other, table(tmp_path, "list.txt", "映画.mp4\n"), "videos").entries[0].id == "映画.mp4"


@pytest.mark.parametrize("bad", ["/etc/passwd", "../secret.mp4", "a/../../secret.mp4", "a\0.mp4"])
@pytest.mark.parametrize(("name", "text"), [("t.csv", "videos\na.mp4\n{}\n"), ("t.txt", "a.mp4\n{} 3\n"), ("t.tsv", "{}\t3\n")])
def test_paths_that_lead_outside_are_refused_with_the_list(tmp_path, bad, name, text):
    root = files(tmp_path / "films", "a.mp4")
    files(tmp_path, "secret.mp4")
    with pytest.raises(DataError, match=r"its paths must lie below .*films: not absolute, no '\.\.'"):
        list_table(root, table(tmp_path, name, text.format(bad)), "videos")


def test_rows_with_too_many_fields_are_dropped_and_a_damaged_table_is_a_sentence(tmp_path):
    root = files(tmp_path / "films", "a.mp4", "b.mp4")
    text = "caption,videos\na dog,a.mp4\na dog, running,b.mp4\n"
    assert [entry.path for entry in list_table(root, table(tmp_path, "t.csv", text), "videos").entries] == ["a.mp4"]
    with pytest.raises(
        DataError, match=r"t\.csv is damaged near its line \d+: field larger than .*is a quotation mark missing\?"
    ):
        list_table(root, table(tmp_path, "t.csv", 'caption,videos\n"a dog,a.mp4\n' + "x,b.mp4\n" * 20_000), "videos")


def test_folders_that_are_links_are_read_and_circles_end(tmp_path):
    files(tmp_path / "elsewhere", "x/a.mp4", "x/.hidden/b.mp4", "x/.c.mp4")
    root = files(tmp_path / "films", "own/b.mp4")
    (root / "linked").symlink_to(tmp_path / "elsewhere" / "x")
    (root / "own" / "again").symlink_to(root)
    (tmp_path / "elsewhere" / "x" / "up").symlink_to(tmp_path / "elsewhere")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere")
    listing = list_folder(root, "videos")
    assert [entry.path for entry in listing.entries] == ["linked/a.mp4", "own/b.mp4"]


def test_a_kinetics_id_cannot_lead_outside(tmp_path):
    root = files(tmp_path / "films", "a.mp4")
    files(tmp_path, "secret.mp4")
    rows = "youtube_id,time_start,time_end\n../secret,0,1\na,0,1\n"
    listing = list_table(root, table(tmp_path, "t.csv", rows), "videos")
    assert [entry.path for entry in listing.entries] == ["a.mp4"] and listing.left_out[0][:2] == ("../secret", "missing")
