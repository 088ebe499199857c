"""Prompts that two sets of records share, and what is said of them."""

from dataclasses import replace
from pathlib import Path

from understudy.records import Demonstration, Message, Prompt
from understudy.records.overlap import note_overlap, note_splits, overlap, prompt_key


def demo(prompt, response):
    return Demonstration.from_json({"prompt": prompt, "response": response})


def test_a_prompt_is_the_same_as_text_and_as_one_turn():
    turns = (Message("user", "x "),)
    assert prompt_key("x") == prompt_key(turns) != prompt_key("y")
    rows = [("line 1", demo("x", "a")), ("line 2", "text"), ("line 3", demo("z", "a"))]
    others = [Prompt.from_json({"prompt": [{"role": "user", "content": "x"}]}), "z"]
    assert overlap(rows, others) == ["line 1"]


def test_a_trainer_says_how_many_rows_of_its_validation_set_it_has_seen(capsys):
    train = [demo("x", "a"), demo("y", "b")]
    note_overlap(train, [demo("z", "a")], Path("v.jsonl"))
    assert capsys.readouterr().err == ""
    note_overlap(train, [demo("x", "other"), demo("z", "a")], Path("v.jsonl"))
    assert (
        "1 of the 2 rows of v.jsonl have a prompt that is also in the training"
        in capsys.readouterr().err
    )


def test_a_trainer_says_how_many_of_its_rows_are_for_measurement(capsys):
    rows = [demo("x", "a") for _ in range(3)]
    note_splits([replace(rows[0], split="train"), rows[1]], Path("d.jsonl"))
    assert capsys.readouterr().err == ""
    note_splits(
        [replace(rows[0], split="test"), replace(rows[1], split="valid"), rows[2]], Path("d")
    )
    assert "2 of the 3 rows of d belong to the split valid or test" in capsys.readouterr().err
