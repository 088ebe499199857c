"""What labelers write: three kinds, and few-shot prompts in K examples of K-1 pairs each."""

from collections import Counter
from pathlib import Path

import pytest
from tests.stores import make_project

from understudy.commands.export import ExportConfig, export
from understudy.prompts import IntakeConfig, build_prompts
from understudy.prompts.build import BuildConfig, build_files
from understudy.prompts.write import WriteConfig, write_prompts
from understudy.records import (
    Demonstration,
    LabelerInfo,
    Message,
    Prompt,
    RecordError,
    read_records,
    write_records,
)
from understudy.records.written import Pair, Written, expand

PAIRS = tuple(Pair(query=f"Q{k}", response=f"R{k}") for k in range(3))
FEW = Written(kind="few_shot", labeler_id="l1", id="w", instruction="Answer.", pairs=PAIRS)
PLAIN = Written(kind="plain", labeler_id="l1", prompt="Name a prime.", response="7")
BASED = Written(
    kind="user_based",
    labeler_id="l2",
    prompt="Write an invitation to our spring sale.",
    application="letters to customers of a shop",
    anonymized_by="l1",
    use_case="generation",
)


def test_a_few_shot_prompt_becomes_k_examples_with_the_other_pairs_as_context() -> None:
    found = list(expand(FEW))
    assert [prompt.prompt for prompt, _ in found] == [
        "Answer.\n\nQ1\nR1\n\nQ2\nR2\n\nQ0",
        "Answer.\n\nQ2\nR2\n\nQ0\nR0\n\nQ1",
        "Answer.\n\nQ0\nR0\n\nQ1\nR1\n\nQ2",
    ]
    assert [given.response for _, given in found] == ["R0", "R1", "R2"]
    for place, (prompt, given) in enumerate(found):
        assert (
            (given.prompt_id, given.prompt)
            == (prompt.id, prompt.prompt)
            == (f"w-{place}", prompt.prompt)
        )
        assert prompt.tags == {"written": "few_shot", "template": "w", "place": place}
        assert (prompt.source, prompt.user_id) == ("labeler", "labeler-l1")


def test_as_turns_the_instruction_is_the_systems() -> None:
    prompt, _ = list(expand(FEW, "turns"))[1]
    assert prompt.prompt == (
        Message("system", "Answer."),
        *(Message("user", "Q2"), Message("assistant", "R2")),
        *(Message("user", "Q0"), Message("assistant", "R0")),
        Message("user", "Q1"),
    )


def test_plain_and_user_based_prompts_are_one_each() -> None:
    ((prompt, given),) = expand(PLAIN)
    assert (prompt.prompt, given.response, given.labeler_id) == ("Name a prime.", "7", "l1")
    ((prompt, given),) = expand(BASED)
    assert given is None
    assert prompt.use_case == "generation"
    assert prompt.tags["application"] == "letters to customers of a shop"
    assert next(expand(PLAIN))[0].id == next(expand(PLAIN))[0].id != next(expand(BASED))[0].id


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"kind": "plain"}, "field 'prompt' is missing; a plain prompt needs it"),
        ({"kind": "plain", "prompt": "x", "instruction": "y"}, "'instruction' is not for plain"),
        ({"kind": "plain", "prompt": "x", "pairs": [1]}, r"field 'pairs\[0\]' is 1"),
        ({"kind": "few_shot", "instruction": "x"}, "field 'pairs' has 0"),
        ({"kind": "few_shot", "instruction": "x", "pairs": "ab"}, "field 'pairs' is 'ab'"),
        ({"kind": "user_based", "prompt": "x"}, "field 'application' is missing"),
        ({"kind": "user_based", "prompt": "x", "application": "y"}, "'anonymized_by' is missing"),
        (
            {"kind": "user_based", "prompt": "x", "application": "y", "anonymized_by": "l1"},
            "another labeler must make the use case anonymous",
        ),
        ({"kind": "essay"}, "field 'kind' is 'essay'"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: dict, problem: str) -> None:
    with pytest.raises(RecordError, match=problem):
        Written.from_json({"labeler_id": "l1", **row})


@pytest.mark.parametrize(
    ("second", "problem"), [(("Q0 ", "R"), "repeats the query"), (("Q", " "), "has an empty query")]
)
def test_pairs_that_would_give_the_answer_away_are_refused(second, problem: str) -> None:
    pairs = (PAIRS[0], Pair(query=second[0], response=second[1]))
    with pytest.raises(RecordError, match=problem):
        Written(kind="few_shot", labeler_id="l1", instruction="x", pairs=pairs)


def test_intake_keeps_all_examples_of_a_template_and_puts_them_in_one_split() -> None:
    """Nine of ten words are shared, which is meant; the same template again is a duplicate."""
    pairs = tuple(Pair(query=f"word number {k}", response=f"answer {k}") for k in range(20))
    long = "Say what each of the following words means, in one short sentence, and no more. " * 3
    few = Written(kind="few_shot", labeler_id="l1", instruction=long, pairs=pairs)
    prompts = [prompt for prompt, _ in expand(few)]
    copies = [Prompt.from_json({**p.to_json(), "id": f"again-{p.id}"}) for p in prompts]
    kept, report = build_prompts([*prompts, *copies], IntakeConfig(near_duplicates=0.8))
    assert len(kept) == 20
    assert {prompt.split for prompt in kept} in ({"train"}, {"valid"})
    assert {step.name: step.num_dropped for step in report.steps}["duplicates"] == 20


def test_what_labelers_write_is_never_in_the_test_split() -> None:
    written = [
        prompt
        for k in range(200)
        for prompt, _ in expand(Written(kind="plain", labeler_id=f"l{k}", prompt=f"Task {k}."))
    ]
    kept, _ = build_prompts(written, IntakeConfig(test_share=0.5, valid_share=0.25))
    splits = Counter(prompt.split for prompt in kept)
    assert set(splits) == {"train", "valid"}
    assert 25 <= splits["valid"] <= 75


def test_into_files(tmp_path: Path) -> None:
    data = write_records(tmp_path / "written.jsonl", [FEW, PLAIN, BASED])
    out, answers = tmp_path / "prompts.jsonl", tmp_path / "demonstrations.jsonl"
    said = write_prompts(WriteConfig(data=(str(data),), out=out, demonstrations=answers))
    assert said.splitlines() == [f"{out}: 5 prompts", f"{answers}: 4 demonstrations"]
    assert len(read_records(out, Prompt)) == 5
    assert len(read_records(answers, Demonstration)) == 4
    for wrong in ({}, {"out": out, "project": tmp_path}, {"project": out, "demonstrations": out}):
        with pytest.raises(ValueError, match="needs --project, or --out"):
            WriteConfig(data=("x",), **wrong)


def test_into_a_project_and_out_as_a_dataset(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    data = str(write_records(tmp_path / "written.jsonl", [FEW, PLAIN, BASED]))
    config = WriteConfig(data=(data,), project=project.folder)
    with pytest.raises(ValueError, match="labeler 'l1' is not in the store"):
        write_prompts(config)
    store = project.open_store()
    assert list(store.prompts()) == []
    store.add_labelers([LabelerInfo(id="l1", role="training")])
    said = "prompts: 5 new, 0 known\ndemonstrations: 4 new, 0 known"
    assert write_prompts(config) == said
    assert write_prompts(config) == "prompts: 0 new, 5 known\ndemonstrations: 0 new, 4 known"
    assert build_files(BuildConfig(project=project.folder)).num_kept == 5
    export(ExportConfig(kind="demonstrations", project=project.folder))
    rows = read_records(project.datasets / "demonstrations-training.jsonl", Demonstration)
    assert sorted(row.response for row in rows) == ["7", "R0", "R1", "R2"]
    store.engine.dispose()
