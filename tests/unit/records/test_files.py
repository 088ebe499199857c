"""The rows of files: formats, compression, encodings, delimiters, folders; damage by place."""

import bz2
import csv
import gzip
import json
import lzma
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.records import Prompt, RecordError, iter_records
from understudy.records.files import iter_rows

ROWS = [{"prompt": "Name a tree.\u2028", "n": 1}, {"prompt": "\u05e9\u05dc\u05d5\u05dd", "n": 2}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS)


def rows_of(path, note=lambda text: None):
    return [row for _, row in iter_rows(path, note)]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_lines_in_marked_encodings(encoding, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES.encode(encoding))
    assert list(iter_rows(path)) == [("line 1", ROWS[0]), ("line 2", ROWS[1])]


@pytest.mark.parametrize(
    ("suffix", "squeeze"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
@pytest.mark.parametrize("base", [".jsonl", ".csv"])
def test_compressed_files(suffix, squeeze, base, tmp_path):
    path = tmp_path / f"rows{base}{suffix}"
    text = LINES if base == ".jsonl" else "prompt,n\r\nName a tree.\u2028,1\r\n"
    whole = squeeze(text.encode())
    path.write_bytes(whole)
    assert rows_of(path)[0]["prompt"] == "Name a tree.\u2028"
    path.write_bytes(whole[: len(whole) - 9])
    with pytest.raises(RecordError, match="is damaged"):
        rows_of(path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_on_one_line_or_many(name, indent, tmp_path):
    path = tmp_path / name
    path.write_text("\n" + json.dumps(ROWS, indent=indent))
    assert list(iter_rows(path)) == [("row 1", ROWS[0]), ("row 2", ROWS[1])]


def test_json_files_may_hold_one_object_or_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert rows_of(path) == [ROWS[0]]
    path.write_text(LINES)
    assert rows_of(path) == ROWS


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_under_one_key_of_a_json_file(indent, tmp_path):
    path, notes = tmp_path / "a.json", []
    path.write_text(json.dumps({"version": 1, "data": ROWS}, indent=indent))
    assert [row for _, row in iter_rows(path, notes.append)] == ROWS
    assert notes == [f"{path}: read the rows under 'data', not version"]
    both = {"data": ROWS, "rows": ROWS}  # nobody says which
    path.write_text(json.dumps(both, indent=indent))
    assert rows_of(path) == [both]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            gzip.compress(b'{"a": 1}', mtime=0),
            "line 1: not text but gzip; give the file the",
        ),
        ("a.csv.json", b"PAR1\xff", "line 1: not text but Parquet"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), "line 1: UTF-16 text without a byte"),
        ("a.jsonl", '{"a": "\u00ff\u0100"}'.encode("utf-16-le"), "line 1: UTF-16 text without a"),
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"[" * 100_000, "line 2: not valid JSON"),
        ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "line 1: not valid JSON"),
        ("a.json", b'[{"a": 1},\n{"a": }]', "line 2: not valid JSON .* array of objects"),
        ("a.json", b"\xff\xfe\x00", "not utf-16, as"),
        ("a.csv", b'prompt,n\nx,1\n"y,2\n', "line 3: .*quote"),
        ("a.csv", b"prompt,prompt\nx,y\n", "two columns are called 'prompt'"),
        ("a.jsonl", b'{"p": 1}\n{"p": [{"role": 1, "role": 2}]}', "line 2: .*the key 'role' twice"),
        ("a.csv", b"prompt,n\nx,1\nhello, world,2\n", "line 3: 3 cells under 2 column names"),
        ("a.parquet", b"PAR1 no", "is not a Parquet file"),
        ("a.gz", b"", r"must be JSON Lines"),
    ],
)
def test_damage_is_named_by_its_place(name, data, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(RecordError, match=message):
        rows_of(path)


def test_turns_in_a_cell_of_csv_are_read_beside_a_response_that_is_text(tmp_path):
    path = tmp_path / "a.csv"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([("prompt", "response"), (json.dumps(turns), "[1, 2]"), ("[1]", "y")])
    assert [row for _, row in iter_rows(path)] == [
        {"prompt": turns, "response": "[1, 2]"},
        {"prompt": "[1]", "response": "y"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_any_delimiter(delimiter, tmp_path):
    path = tmp_path / "a.csv"
    header = delimiter.join(("Prompt", "User ID", "x"))
    path.write_text(f'{header}\n"a{delimiter} ""b""\nc"{delimiter}u1{delimiter}\n\nd\n')
    assert list(iter_rows(path)) == [
        ("line 2", {"prompt": f'a{delimiter} "b"\nc', "user_id": "u1", "x": None}),
        ("line 5", {"prompt": "d", "user_id": None, "x": None}),
    ]
    path.write_text(f"sep={delimiter}\n{header}\na{delimiter}b{delimiter}c\n")
    assert list(iter_rows(path)) == [("line 3", {"prompt": "a", "user_id": "b", "x": "c"})]


@pytest.mark.parametrize(
    ("encoding", "text", "noted"),
    [
        ("utf-8", "Nenne einen schönen Baum", False),
        ("utf-8-sig", "Nenne einen schönen Baum", False),
        ("utf-16", "Nenne einen schönen Baum", False),
        ("cp1252", "Nenne einen schönen Baum \u201ebitte\u201c", True),
        ("cp1251", "Назови дерево, пожалуйста, и ещё одну птицу из наших лесов", True),
    ],
)
def test_csv_of_any_encoding(encoding, text, noted, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(f'prompt;n\n"{text}";1\n'.encode(encoding))
    notes = []
    assert rows_of(path, notes.append) == [{"prompt": text, "n": "1"}]
    assert bool(notes) is noted
    assert all(f"was read as {encoding}" in note and text[:5] in note for note in notes)


def test_cells_that_hold_numbers_and_lists(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,responses,scores,tags\n12,"[""a"", ""b""]","[1, 2]",[x\n')
    row = {"prompt": "12", "responses": ["a", "b"], "scores": [1, 2], "tags": "[x"}
    assert rows_of(path) == [row]


def test_a_cell_of_any_length(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "x" * 300_000 + "\n")
    assert len(rows_of(path)[0]["prompt"]) == 300_000


def test_text_is_divided_by_blank_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne\r\nmore\r\n\r\n\r\nTwo".encode())
    assert list(iter_rows(path)) == [("line 1", {"text": "One\nmore"}), ("line 5", {"text": "Two"})]


def test_times_and_decimals_of_tables_are_plain(tmp_path):
    path = tmp_path / "a.parquet"
    moment = datetime(2026, 3, 4, 12, tzinfo=UTC)
    pq.write_table(pa.table({"prompt": ["x"], "created_at": [moment], "seen": [[moment]]}), path)
    assert rows_of(path)[0]["seen"] == ["2026-03-04T12:00:00+00:00"]
    (prompt,) = iter_records(path, Prompt)
    assert prompt.created_at == "2026-03-04T12:00:00+00:00"


def test_a_folder_of_shards_in_the_order_of_their_names(tmp_path):
    for number, row in enumerate(ROWS):
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps(row))
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert list(iter_rows(tmp_path)) == [
        ("part-0.jsonl line 1", ROWS[0]),
        ("part-1.jsonl line 1", ROWS[1]),
    ]


def test_splits_of_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    for split, row in zip(("train", "validation"), ROWS, strict=True):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "data" / f"{split}-0.parquet")
    notes = []
    assert rows_of(tmp_path, notes.append) == [ROWS[0]]
    assert notes == [f"{tmp_path}: not read: validation-0.parquet"]
    assert rows_of(f"{tmp_path}#valid") == [ROWS[1]]
    with pytest.raises(RecordError, match="no files of the split test; it has train, validation"):
        rows_of(f"{tmp_path}#test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="is a folder without files of rows"):
        rows_of(tmp_path / "empty")


def test_suffixes_in_capitals_and_files_that_are_left_out(tmp_path):
    line = json.dumps(ROWS[0])
    (tmp_path / "part-0.JSONL").write_text(line)
    (tmp_path / "part-1.Jsonl.GZ").write_bytes(gzip.compress(line.encode()))
    (tmp_path / "part-2.jsonl.lz4").write_text("x")
    (tmp_path / "more").mkdir()
    notes = []
    assert rows_of(tmp_path, notes.append) == [ROWS[0]] * 2
    assert notes == [f"{tmp_path}: not read: more, part-2.jsonl.lz4"]


def test_names_that_only_begin_like_a_split(tmp_path):
    for name in ("developers", "testimonials", "trainers"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(ROWS[0]))
    assert rows_of(tmp_path) == [ROWS[0]] * 3


def test_a_description_beside_the_data_is_no_row(tmp_path):
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-0.jsonl").write_text(json.dumps(ROWS[1]))
    assert rows_of(tmp_path) == [ROWS[1]]


def test_cells_of_answers_stay_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\n\nprompt,chosen,rejected,rank\n6 x 7?,42,"[4, 2]",0.0\n')
    row = {"prompt": "6 x 7?", "chosen": "42", "rejected": "[4, 2]", "rank": 0.0}
    assert list(iter_rows(path)) == [("line 4", row)]


def test_maps_and_doubled_columns_of_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    tags = pa.array([[("group", "g")]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"prompt": ["x"], "tags": tags}), path)
    assert rows_of(path) == [{"prompt": "x", "tags": {"group": "g"}}]
    pq.write_table(pa.table([["x"], ["y"]], names=["prompt", "prompt"]), path)
    with pytest.raises(RecordError, match="two columns are called 'prompt'"):
        rows_of(path)
