"""The demo's own small decisions: who gets which prompt, what is unseen, what time it took."""

import pytest

from understudy.loop.plan import Stamp
from understudy.loop.stages.results import spread, times
from understudy.loop.stages.users import hand_out, unseen
from understudy.records import Prompt


def prompt(number: int, **fields) -> Prompt:
    fields.setdefault("prompt", f"question {number}")
    return Prompt(id=f"p{number}", user_id=f"u{number}", **fields)


COUNTS = {
    "num_demonstrations": 4,
    "num_rankings": 5,
    "num_valid_demonstrations": 1,
    "num_valid_rankings": 2,
    "num_screening_prompts": 2,
}


def test_demonstrations_and_rankings_get_different_prompts():
    by_split = {
        "train": [prompt(i) for i in range(10)],
        "valid": [prompt(i) for i in range(10, 14)],
        "test": [prompt(20)],
    }
    files = hand_out(by_split, COUNTS)
    ids = {name: {p.id for p in members} for name, members in files.items()}
    assert len(ids["demonstrate"]) == 4
    assert len(ids["rank"]) == 5
    assert not ids["demonstrate"] & ids["rank"]
    assert not ids["demonstrate_valid"] & ids["rank_valid"]
    assert ids["ppo"] == {p.id for p in by_split["train"]}


def test_too_few_prompts_say_what_to_raise():
    with pytest.raises(ValueError, match="demonstrate needs 4 prompts, but intake left 3"):
        hand_out({"train": [prompt(i) for i in range(3)], "valid": [], "test": []}, COUNTS)


def test_unseen_prompts_occur_in_no_training_text():
    by_split = {"train": [prompt(1)], "valid": [prompt(2)]}
    test = [prompt(11, prompt="question 1"), prompt(12, prompt="on the web"), prompt(13)]
    kept, num_seen = unseen(test, by_split, ["on the web"])
    assert [p.id for p in kept] == ["p13"]
    assert num_seen == 2


def test_examples_are_spread_over_use_cases():
    prompts = [prompt(i, use_case="chat") for i in range(5)] + [prompt(9, use_case="extract")]
    assert [p.id for p in spread(prompts, 3)] == ["p0", "p9", "p1"]


def test_shards_add_up_and_wall_clock_does_not_count_twice(tmp_path):
    for name, started, seconds in (("a-0", 0, 60), ("a-1", 30, 60), ("b", 300, 30)):
        (tmp_path / name).mkdir()
        Stamp(
            key="", outputs={}, inputs={}, config={}, code="", started=started, seconds=seconds
        ).write(tmp_path / name)
    rows = {"a-0": "a", "a-1": "a", "b": "b", "report": "report"}
    assert times(tmp_path, rows) == {"minutes": {"a": 2.0, "b": 0.5}, "wall_minutes": 2.0}
