"""Intake step by step on a handful of prompts whose fate is known."""

import json
from collections import Counter

import pytest

from understudy.prompts import BuildConfig, IntakeConfig, build_files, build_prompts, split_of
from understudy.records import Message, Prompt, iter_records, read_records, write_records

CARD = "4111 1111 1111 1111"


def prompt(id: str, text: str, user: str = "u", **more) -> Prompt:
    return Prompt(id=id, prompt=text, user_id=user, **more)


def dropped(report) -> dict[str, dict[str, int]]:
    return {step.name: dict(step.dropped) for step in report.steps if step.dropped}


def user_in(split: str) -> str:
    """A user id that the default key puts in `split`."""
    config = IntakeConfig()
    shares = dict(valid_share=config.valid_share, test_share=config.test_share)
    ids = (f"{split}{i}" for i in range(1000))
    return next(i for i in ids if split_of(f"user {i}", key=config.split_key, **shares) == split)


def test_each_step_drops_its_own_and_says_so() -> None:
    train = user_in("train")
    kept, report = build_prompts(
        [
            prompt("a", "Name a prime.", train),
            prompt("b", "Do not keep this.", train, consent=False),
            prompt("c", "word " * 2000, train),
            prompt("d", f"Is {CARD} a good card?", train),
            prompt("e", "name a  PRIME.", "someone else"),
            *(prompt(f"f{i}", f"Question {i}?", train) for i in range(3)),
        ],
        IntakeConfig(max_per_group=3),
    )
    assert [p.id for p in kept] == ["a", "f0", "f1"]
    assert report.num_in == 8
    assert report.num_kept == 3
    assert dropped(report) == {
        "consent": {"no_consent": 1},
        "length": {"over_1024_tokens": 1},
        "pii": {"card": 1},
        "duplicates": {"exact": 1},
        "cap": {"over_3_of_one_user": 1},
    }
    assert [step.name for step in report.steps] == ["consent", "length", "pii", "duplicates", "cap"]
    assert [step.num_in for step in report.steps] == [8, 7, 6, 5, 4]


def test_personal_data_leaves_the_training_split_only_by_default() -> None:
    rows = [prompt(s, f"My card is {CARD}, {s}.", user_in(s)) for s in ("train", "valid", "test")]
    kept, report = build_prompts(rows)
    assert {p.split for p in kept} == {"valid", "test"}
    assert report.num_pii_outside_training == 2
    kept, _ = build_prompts(rows, IntakeConfig(pii="drop"))
    assert kept == []
    kept, report = build_prompts(rows, IntakeConfig(pii="redact"))
    assert sorted(p.prompt for p in kept) == [
        f"My card is [card], {s}." for s in ("test", "train", "valid")
    ]
    assert report.num_redacted == 3


def test_examples_show_no_personal_data() -> None:
    _, report = build_prompts([prompt("a", f"{'x ' * 30}{CARD}", user_in("train"))])
    assert CARD[:4] not in report.table()
    assert "[card]" in report.table()


def test_the_earliest_of_several_is_kept() -> None:
    rows = [
        prompt("z", "Name a prime.", created_at="2026-01-01T00:00:00Z"),
        prompt("a", "Name a prime.", created_at="2026-01-02T00:00:00Z"),
        prompt("b", "Name a prime."),
    ]
    kept, report = build_prompts(rows)
    assert [p.id for p in kept] == ["z"]
    assert {example.of for step in report.steps for example in step.examples} == {"z"}


def test_labelers_prompts_are_not_capped() -> None:
    rows = [prompt(f"p{i}", f"Task {i}", source="labeler") for i in range(5)]
    assert len(build_prompts(rows, IntakeConfig(max_per_group=2))[0]) == 5


def test_a_labelers_use_case_wins_over_the_rules() -> None:
    kept, report = build_prompts(
        [prompt("a", "Write a poem.", use_case="other"), prompt("b", "Write a story.")]
    )
    assert [p.use_case for p in kept] == ["other", "generation"]
    assert report.use_cases == {"other": 1, "generation": 1}
    assert "45.6%" in report.table()


def test_by_organization_a_user_counts_under_one() -> None:
    rows = [
        prompt("a", "One.", "u", organization_id="x"),
        prompt("b", "Two.", "u", organization_id="y"),
        prompt("c", "Three.", "v", organization_id="x"),
        prompt("d", "Four.", "w"),
    ]
    kept, report = build_prompts(rows, IntakeConfig(group_by="organization", max_per_group=1))
    assert [p.id for p in kept] == ["a", "d"]
    assert dropped(report) == {
        "organization": {"user_of_two_organizations": 1},
        "cap": {"over_1_of_one_organization": 1},
    }


def test_duplicates_within_a_user_only() -> None:
    rows = [prompt("a", "Hi.", "u"), prompt("b", "Hi.", "v"), prompt("c", "Hi.", "u")]
    kept, _ = build_prompts(rows, IntakeConfig(duplicate_scope="user"))
    assert [p.id for p in kept] == ["a", "b"]


def test_an_id_is_kept_once() -> None:
    rows = [prompt("a", "Hi.", "u"), prompt("a", "Hi.", "v"), prompt("a", "Other.", "u")]
    kept, report = build_prompts(rows, IntakeConfig(duplicate_scope="user"))
    assert [(p.id, p.user_id, p.prompt) for p in kept] == [("a", "u", "Hi.")]
    assert dropped(report) == {"duplicates": {"same_id": 2}}


def test_the_given_counter_decides_the_length() -> None:
    rows = [prompt("a", "one two three"), prompt("b", "one two")]
    config = IntakeConfig(max_prompt_tokens=2)
    kept, _ = build_prompts(rows, config, count_tokens=lambda text: len(text.split()))
    assert [p.id for p in kept] == ["b"]


def test_two_ways_to_count_are_refused() -> None:
    with pytest.raises(ValueError, match="give one"):
        build_prompts([], IntakeConfig(tokenizer="x"), count_tokens=len)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_prompt_tokens", 0), ("prefix_share", 1.5), ("valid_share", 1.0), ("split_key", "")],
)
def test_impossible_settings_are_named(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        IntakeConfig(**{setting: value})


def test_shares_must_leave_a_training_split() -> None:
    with pytest.raises(ValueError, match="training split"):
        IntakeConfig(valid_share=0.5, test_share=0.5)


def test_files_in_files_out(tmp_path) -> None:
    turns = (Message("system", "Be kind."), Message("user", "Hello?"))
    first = write_records(tmp_path / "a.jsonl", [prompt("a", "Name a prime.")])
    second = write_records(
        tmp_path / "b.parquet", [Prompt(id="b", prompt=turns, user_id="v"), prompt("c", "Why?")]
    )
    report = build_files(BuildConfig(data=(first, second), out=tmp_path / "out" / "prompts.jsonl"))
    kept = read_records(tmp_path / "out" / "prompts.jsonl", Prompt)
    assert [p.id for p in kept] == ["a", "b", "c"]
    assert kept[1].prompt == turns
    for split in ("train", "valid", "test"):
        rows = list(iter_records(tmp_path / "out" / f"prompts.{split}.jsonl", Prompt))
        assert rows == [p for p in kept if p.split == split]
    written = json.loads((tmp_path / "out" / "prompts.report.json").read_text())
    assert written == json.loads(json.dumps(report.to_json()))
    assert Counter(p.split for p in kept)[None] == 0
