"""Sources: what they list, what they refuse, and when their fingerprint changes."""

import hashlib
import os

import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from clips import a_stream

from tokjax.data.records import printable
from tokjax.data.sources import BadRecord, DataError, Record, open_source, pack, unpack


@pytest.fixture
def films(tmp_path):
    for name in ("b.mp4", "a/c.MOV", "a/notes.txt", ".hidden.mp4"):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "films"


def table(tmp_path, text, encoding="iso-8859-1"):
    path = tmp_path / "films.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_folder_lists_media_in_order_and_reads_them(films):
    source = open_source(a_stream("videos", films))
    assert [source.record(i) for i in range(len(source))] == [
        Record("a/c.MOV", "video", b"a/c.MOV"),
        Record("b.mp4", "video", b"b.mp4"),
    ]


def test_fingerprint_is_over_names_and_sizes(films):
    before = open_source(a_stream("videos", films)).fingerprint()
    assert before == hashlib.sha256(b"a/c.MOV\x007\nb.mp4\x005\n").hexdigest()
    (films / "b.mp4").write_bytes(b"longer than before")
    assert open_source(a_stream("videos", films)).fingerprint() != before


def test_table_keeps_its_order_and_drops_rows_with_missing_values(films, tmp_path):
    (films / "caf\xe9.mp4").write_bytes(b"x")
    text = "id, videos\n1,b.mp4\n2,\n,a/c.MOV\n3,caf\xe9.mp4\n4,gone.mp4\n"
    source = open_source(a_stream("videos", films, table=table(tmp_path, text)))
    assert source.ids == ["b.mp4", "caf\xe9.mp4", "gone.mp4"]
    with pytest.raises(BadRecord, match="No such file") as error:
        source.record(2)
    assert error.value.id == "gone.mp4"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\nb.mp4,1\n", r"no column 'videos'; it has 'path', 'label'"),
        ("", "no column 'videos'; it has none"),
        ("videos\n/etc/passwd\n", "names '/etc/passwd'.*below"),
        ("videos\na/../../x.mp4\n", "names 'a/../../x.mp4'.*below"),
        ("videos\ngone.mp4\n", "no usable file.*'gone.mp4'"),
        ("videos,label\nb.mp4,\n", "no row without missing values"),
    ],
)
def test_tables_that_cannot_work(films, tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        open_source(a_stream("videos", films, table=table(tmp_path, text)))


@pytest.mark.parametrize(
    ("kind", "path", "changes", "sentence"),
    [
        ("images", "films", {}, "no usable file below .*films; looked for jpg jpeg png webp"),
        ("images", "missing", {}, "missing does not exist"),
        ("videos", "films", {"table": "missing.csv"}, "table missing.csv does not exist"),
        ("array_record", "films/*.array_record", {}, r"no file matches .*films/\*\.array_record"),
    ],
)
def test_nothing_to_read(films, kind, path, changes, sentence):
    with pytest.raises(DataError, match=sentence):
        open_source(a_stream(kind, films.parent / path, **changes))


def test_a_label_that_a_list_changes_changes_the_fingerprint(films, tmp_path):
    (films / "x.png").write_bytes(b"x")
    prints = set()
    for label in ("", " 1", " 2"):
        (tmp_path / "list.txt").write_text(f"x.png{label}\n")
        prints.add(open_source(a_stream("images", films, table=str(tmp_path / "list.txt"))).fingerprint())
    assert len(prints) == 3


def test_a_name_that_is_not_unicode(films):
    name = os.fsdecode(b"caf\xe9.mp4")
    (films / name).write_bytes(b"x")
    source = open_source(a_stream("videos", films))
    assert source.ids[-1] == name and source.record(2).media == b"x" and len(source.fingerprint()) == 64
    assert unpack(pack(source.record(2))) == source.record(2) and printable(name) == "caf\\udce9.mp4"


def test_a_damaged_shard_is_named_and_a_damaged_record_is_a_bad_one(tmp_path):
    for name in "ab":
        writer = ArrayRecordWriter(str(tmp_path / f"{name}.array_record"), "group_size:1,uncompressed")
        for number in range(4):
            writer.write(pack(Record(f"{name}{number}", "image", bytes([7 * number + 1]) * 40_000)))
        writer.close()
    path = tmp_path / "b.array_record"
    media = path.read_bytes()
    path.write_bytes(media.replace(bytes([8]) * 1000, bytes([9]) * 1000, 1))
    source = open_source(a_stream("array_record", tmp_path))
    assert source.record(4).id == "b0"
    with pytest.raises(BadRecord, match="cannot be read from its shard: ") as error:
        source.record(5)
    assert error.value.id == "record 5"
    path.write_bytes(media[: len(media) // 2])
    with pytest.raises(DataError, match=r"b\.array_record is no ArrayRecord file, or damaged: .*; copy or prepare it again"):
        open_source(a_stream("array_record", tmp_path))


@pytest.mark.parametrize("content", ['{"fingerprint": ', '{"records": 1}', "[]"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    writer = ArrayRecordWriter(str(tmp_path / "a.array_record"), "group_size:1")
    writer.write(pack(Record("a", "image", b"x")))
    writer.close()
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json is damaged, or not of `tokjax prepare`; copy or prepare the shards"):
        open_source(a_stream("array_record", tmp_path)).fingerprint()


def test_packed_records_come_back_and_other_bytes_are_refused():
    record = Record("dir/\u00e9 1.mp4", "video", bytes(range(256)))
    assert unpack(pack(record)) == record
    for packed in (b"", b"\xff\xff\xff\xffabc", pack(record)[4:]):
        with pytest.raises(BadRecord, match="tokjax prepare"):
            unpack(packed)
