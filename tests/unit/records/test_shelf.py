"""Rows on the disk: a sequence like a list's, in memory only an index."""

import gc
import json
import resource
import tracemalloc

import pytest

from understudy.records import Demonstration, RecordError, read_records
from understudy.records.io import shelve_records
from understudy.records.shelf import Shelf


def test_a_shelf_reads_like_a_list():
    rows = [("a", [1, 2]), ("b" * 100_000, []), ("c", [3])]
    shelf = Shelf(rows[:2])
    assert shelf[1] == rows[1]
    shelf.append(rows[2])  # after a read
    assert list(shelf) == rows
    assert list(shelf) == rows
    assert (len(shelf), shelf[-1], shelf[1:]) == (3, rows[2], rows[1:])
    assert list(reversed(shelf)) == rows[::-1]
    with pytest.raises(IndexError):
        shelf[3]
    assert not Shelf()


def test_the_file_is_where_tmpdir_says_and_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shelf = Shelf(["a"])
    assert shelf[0] == "a"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"let TMPDIR name another.*none"):
        Shelf()


def test_a_full_disk_is_said_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shelf = Shelf()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="let TMPDIR name another") as error:
            shelf.append("x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(tmp_path)


def test_memory_grows_by_an_index_only(tmp_path):
    def held(count):
        path = tmp_path / f"{count}.jsonl"
        row = {"prompt": "p " * 200, "response": "r " * 300}
        path.write_text("".join(json.dumps(row) + "\n" for _ in range(count)))
        tracemalloc.start()
        records = shelve_records(path, Demonstration)
        assert sum(len(record.response) for record in records) == count * 600
        gc.collect()
        found = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return found

    held(10)  # what is loaded once
    assert (held(6000) - held(1000)) / 5000 < 20  # bytes a record, of which 8 are the index


def test_records_are_those_of_read_records(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": "d"}\n')
    assert list(shelve_records(path, Demonstration)) == read_records(path, Demonstration)
    path.write_text("\n")
    with pytest.raises(RecordError, match="has no rows; it must hold at least one demonstration"):
        shelve_records(path, Demonstration)
