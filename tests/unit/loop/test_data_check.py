"""`understudy data check`: formats named, bad rows counted, cuts and loss mask as in training."""

import json

import pytest
from tests.fixtures_models import save_model_folder

from understudy.cli import main
from understudy.loop.data_check import DataCheckConfig, check_data, read_contents
from understudy.records import Demonstration
from understudy.sft.data import encode_demonstrations

USER, ANSWER = {"role": "user", "content": "the cat"}, {"role": "assistant", "content": "a dog"}
ROWS = {
    "prompt/response": {"prompt": "the cat", "response": "a dog"},
    "prompt/completion": {"prompt": "the cat", "completion": "a dog"},
    "messages": {"messages": [USER, ANSWER, USER, ANSWER]},
    "prompt/chosen/rejected": {"prompt": "x", "chosen": "a longer one", "rejected": "b"},
    "chosen/rejected conversations": {
        "chosen": [USER, ANSWER],
        "rejected": [USER, {"role": "assistant", "content": "no"}],
    },
    "K responses with tiers": {"prompt": "x", "responses": ["a", "b"], "tiers": [[1], [0]]},
    "K responses with ranks": {"prompt": "x", "responses": ["a", "b", "c"], "ranks": [1, 2, 2]},
    "K responses with scores": {"prompt": "x", "responses": ["a", "b"], "scores": [0.5, -1]},
    "prompt/completion with a label": {"prompt": "x", "completion": "a", "label": True},
    "messages with a label": {"messages": [USER, ANSWER, USER, ANSWER], "kto_tag": False},
    "plain text": {"text": "the cat sat on the mat"},
    "prompts": {"prompt": "the cat"},
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_model_folder(tmp_path_factory.mktemp("m") / "base", max_position_embeddings=40))


@pytest.mark.parametrize("shape", ROWS)
def test_each_shape_is_named_with_and_without_a_tokenizer(shape, model, tmp_path, capsys):
    path = write(tmp_path / "data.jsonl", ROWS[shape])
    for chosen in (None, model):
        check_data(DataCheckConfig(data=path, model=chosen))
        assert f"{shape} (1 row)" in capsys.readouterr().out


def test_rows_of_another_split_are_said_except_of_prompts(tmp_path, capsys):
    rows = [ROWS["prompts"], ROWS["prompt/response"], ROWS["prompt/chosen/rejected"]]
    check_data(
        DataCheckConfig(
            data=write(tmp_path / "d.jsonl", *(r | {"split": "test_sft"} for r in rows))
        )
    )
    assert "NOTE of the split valid or test, not for training: 2 rows" in capsys.readouterr().out


def test_parquet_and_plain_files_too(tmp_path, capsys):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [ROWS["messages"], {"messages": [USER, ANSWER]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    (tmp_path / "t.txt").write_text("one\n\ntwo words")
    check_data(DataCheckConfig(data=tmp_path / "d.parquet"))
    check_data(DataCheckConfig(data=tmp_path / "t.txt"))
    out = capsys.readouterr().out
    assert "messages (2 rows)" in out
    assert "1 with several turns" in out
    assert "2 documents of plain text" in out


def test_counts_say_what_a_reward_model_could_learn_instead(tmp_path, capsys):
    path = write(
        tmp_path / "r.jsonl", ROWS["prompt/chosen/rejected"], ROWS["K responses with ranks"]
    )
    check_data(DataCheckConfig(data=path))
    out = capsys.readouterr().out
    assert "K=2: 1, K=3: 1" in out
    assert "3 pairs, 1 tied pair left out; the preferred response is the longer one in 33%" in out


def test_feedback_is_counted_by_kind_and_only_its_last_response_is_learned(model, tmp_path, capsys):
    turns = {"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "no"}]}
    path = write(tmp_path / "f.jsonl", turns | {"label": False})
    check_data(DataCheckConfig(data=path, model=model))
    out = capsys.readouterr().out
    assert "1 feedback record for KTO by 1 labeler: 0 desirable, 1 undesirable" in out
    assert "PROBLEM no response is desirable: KTO needs both kinds" in out
    assert "(undesirable):" in out
    assert out.count("[[") == 1
    write(path, turns | {"label": False}, {"prompt": "x", "completion": "a", "label": 1})
    check_data(DataCheckConfig(data=path))
    assert "PROBLEM" not in capsys.readouterr().out


def test_bad_rows_are_named_and_the_exit_code_says_so(tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", ROWS["messages"], {"prompt": ""}, {"a": 1}, [1])
    assert main(["data", "check", str(path)]) == 2
    captured = capsys.readouterr()
    assert "BAD line 2: field 'prompt' is empty" in captured.out
    assert "BAD line 3: the keys are a" in captured.out
    assert "3 rows cannot be read" in captured.err


def test_a_file_of_no_known_shape_is_told_which_keys_would_do(tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", {"question": "a", "answer": "b"})
    assert main(["data", "check", str(path)]) == 2
    captured = capsys.readouterr()
    assert "BAD line 1: field 'response' is missing for the nearest shape, " in captured.out
    assert "the keys are question, answer; docs/records.md lists" in captured.out
    assert (
        "no row has a known shape. Rename its keys to those of one, such as prompt" in captured.err
    )


def test_bad_rows_of_a_known_shape_are_not_called_unknown(tmp_path, capsys):
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 1, "score_rejected": 3}
    path = write(tmp_path / "d.jsonl", row)
    assert main(["data", "check", str(path)]) == 2
    captured = capsys.readouterr()
    assert "contradict which response was chosen" in captured.out
    assert "1 row cannot be read; see above" in captured.err


def test_cuts_and_mask_are_those_of_training(model, tmp_path, capsys):
    from understudy.models.policies import load_tokenizer

    rows = [
        {"id": "ok", "prompt": "the cat", "response": "a dog"},
        {"prompt": "the cat", "response": "the old house by the river " * 3},
        {"prompt": "the mat " * 8, "response": "a"},
    ]
    path = write(tmp_path / "d.jsonl", *rows)
    limits = dict(max_prompt_tokens=20, max_response_tokens=16)
    check_data(DataCheckConfig(data=path, model=model, examples=1, **limits))
    out = capsys.readouterr().out
    tokenizer = load_tokenizer(model)
    records = [Demonstration.from_json(row) for row in rows]
    encoded = encode_demonstrations(tokenizer, records, **limits, context=40, where="")
    assert encoded.num_cut == 1
    assert "PROBLEM 1 response is CUT at max_response_tokens=16" in out
    assert encoded.num_dropped == 1
    assert "PROBLEM 1 row is LEFT OUT" in out
    assert "(first: line 2)" in out
    assert "(first: line 3)" in out
    assert "no response ends" not in out
    assert encoded.num_cut == encoded.num_dropped == 1
    row = encoded.rows[0]
    counted = "|".join(
        tokenizer.decode([i]) for i, m in zip(row.input_ids, row.loss_mask, strict=True) if m
    )
    assert f"[[{counted}]]" in out
    assert "<eos>" in counted


def test_color_marks_the_counted_tokens(model, tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", ROWS["prompt/response"])
    check_data(DataCheckConfig(data=path, model=model, color="always"))
    green = [part.split("\x1b[0m")[0] for part in capsys.readouterr().out.split("\x1b[30;42m")[1:]]
    assert [text.replace("|", "").strip() for text in green] == ["a dog<eos>"]


def test_a_missing_file_is_one_line(capsys):
    assert main(["data", "check", "missing.jsonl"]) == 2
    assert "missing.jsonl does not exist" in capsys.readouterr().err


def test_mixed_kinds_are_pointed_out_and_one_kind_is_not(tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", ROWS["messages"], ROWS["prompt/chosen/rejected"])
    check_data(DataCheckConfig(data=path))
    assert "several kinds in one file" in capsys.readouterr().out
    assert read_contents(path).found.num_rows == 2
    check_data(DataCheckConfig(data=write(path, ROWS["prompt/chosen/rejected"])))
    assert "several kinds" not in capsys.readouterr().out


def test_no_answer_that_ends_is_said(model, tmp_path, capsys):
    path = write(tmp_path / "d.jsonl", {"prompt": "the cat", "response": "a dog " * 40})
    check_data(DataCheckConfig(data=path, model=model, max_response_tokens=16))
    assert "no response ends" in capsys.readouterr().out


def test_keys_that_nothing_reads_are_listed_once(tmp_path, capsys):
    row = ROWS["prompt/response"] | {"lang": "en", "split": "holdout", "id": 3, "time": 1.5}
    path = write(tmp_path / "d.jsonl", row, row | {"split": "validation", "id": 4})
    check_data(DataCheckConfig(data=path))
    out = capsys.readouterr().out
    assert "ignored keys (rows): lang (2), time (2), split 'holdout' (1)" in out


def test_strict_is_a_gate(tmp_path, capsys):
    good = write(tmp_path / "good.jsonl", ROWS["prompt/response"])
    assert main(["data", "check", str(good), "--strict"]) == 0
    equal = {"prompt": "x", "chosen": "a", "rejected": "a"}
    for rows in ([equal], [ROWS["messages"], {"a": 1}], [ROWS["prompts"]] * 2):
        path = write(tmp_path / "bad.jsonl", *rows)
        assert main(["data", "check", str(path), "--strict"]) == 1
        out = capsys.readouterr().out
        assert "PROBLEM" in out or "BAD" in out


def test_prompts_of_the_validation_set_are_found_in_the_training_set(tmp_path, capsys):
    turns = [{"role": "user", "content": "the cat "}]
    train = write(tmp_path / "t.jsonl", ROWS["messages"], ROWS["prompt/response"])
    valid = write(tmp_path / "v.jsonl", {"prompt": turns, "response": "other"})
    arguments = ["data", "check", str(train), "--valid-data", str(valid), "--strict"]
    assert main(arguments) == 1
    assert "1 row has a prompt that is in" in capsys.readouterr().out
    write(valid, {"prompt": "a dog", "response": "other"})
    assert main(arguments) == 0


def test_no_terminal_is_moved_by_what_a_file_says(model, tmp_path, capsys):
    escape = "a\x1b[2Jb\rc\x07"
    row = {"id": "d\x1b[1m", "prompt": f"x{escape}", "response": escape, "\x1b[31mkey": 1}
    path = write(tmp_path / "d.jsonl", row, {"\x1b[3m": 2})
    assert main(["data", "check", str(path), "--model", model, "--color", "never"]) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert r"\x1b[2J" in captured.out
    assert "1 row has control characters (first: line 1)" in captured.out
