import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.records import (
    Demonstration,
    Message,
    Prompt,
    Ranking,
    RecordError,
    file_hash,
    iter_records,
    read_records,
    sha256_of,
    write_records,
)

PROMPTS = [
    Prompt(id="p1", prompt="[not a list]", user_id="u1", tags={"n": 1}),
    Prompt(id="p2", prompt=(Message("user", "Hi \u2603"),), user_id="u2", split="valid"),
]
RANKINGS = [
    Ranking(
        id="k1", prompt_id="p", prompt="x", responses=("a", "b"), tiers=((0, 1),), labeler_id="l"
    )
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("kind", "records"), [(Prompt, PROMPTS), (Ranking, RANKINGS)])
def test_write_and_read(tmp_path, suffix, kind, records):
    path = write_records(tmp_path / "new" / f"records{suffix}", records)
    assert read_records(path, kind) == records
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_parquet_from_elsewhere_has_real_lists(tmp_path):
    path = tmp_path / "rankings.parquet"
    columns = {
        "prompt": [[{"role": "user", "content": "x"}]],
        "responses": [["a", "b"]],
        "tiers": [[[1], [0]]],
        "split": [None],
        "extra": [3],
    }
    pq.write_table(pa.table(columns), path)
    (ranking,) = read_records(path, Ranking)
    assert ranking.pairs() == [(1, 0)]
    assert ranking.prompt == (Message("user", "x"),)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_records(tmp_path / "prompts.jsonl", PROMPTS)
    before = path.read_bytes()

    def broken():
        yield PROMPTS[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_records(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_file_and_line(tmp_path):
    path = tmp_path / "demos.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n\n{"prompt": "a"}\n')
    with pytest.raises(RecordError, match=r"demos.jsonl line 3: field '\w+' is missing for"):
        read_records(path, Demonstration)
    path.write_text('{"prompt": "a", "response": "b"}\n{"prompt": \n')
    with pytest.raises(RecordError, match="line 2: not valid JSON"):
        read_records(path, Demonstration)
    path.write_bytes(b'{"prompt": "\xff", "response": "b"}\n')
    with pytest.raises(RecordError, match="line 1: not UTF-8"):
        read_records(path, Demonstration)
    path.write_text("\n")
    with pytest.raises(RecordError, match="has no rows; it must hold at least one demonstration"):
        read_records(path, Demonstration)
    with pytest.raises(RecordError, match=r"missing.jsonl does not exist"):
        read_records(tmp_path / "missing.jsonl", Demonstration)
    path.write_text('{"prompt": "a", "completion": "b", "label": false}\n')
    with pytest.raises(RecordError, match="no demonstration in its 1 row; it must hold at least"):
        read_records(path, Demonstration)
    (tmp_path / "demos.xls").write_text("a")
    with pytest.raises(RecordError, match=r"must be JSON Lines .*\.csv"):
        read_records(tmp_path / "demos.xls", Demonstration)
    (tmp_path / "bad.parquet").write_text("a")
    with pytest.raises(RecordError, match="is not a Parquet file"):
        read_records(tmp_path / "bad.parquet", Demonstration)


def test_iteration_yields_rows_before_the_bad_one(tmp_path):
    path = tmp_path / "demos.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n{}\n')
    rows = iter_records(path, Demonstration)
    assert next(rows).response == "b"
    with pytest.raises(RecordError):
        next(rows)


def test_rows_left_out_are_told_on_standard_error(tmp_path, capsys):
    path = tmp_path / "kto.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": "b", "label": true}\n'
        '{"prompt": "a", "completion": "c", "label": 0}\n'
    )
    assert [d.response for d in iter_records(path, Demonstration)] == ["b"]
    assert f"{path}: 1 row left out: label is false" in capsys.readouterr().err


def test_hashes(tmp_path):
    (tmp_path / "a").write_text("abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf")  # sha256 of "abc", FIPS 180
    whole = file_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert file_hash(tmp_path) != whole
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1})
    with pytest.raises(RecordError, match="does not exist"):
        file_hash(tmp_path / "c")
