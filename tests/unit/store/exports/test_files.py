"""Datasets: the same bytes for the same records; no held-out labeler by any path."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from tests.stores import LABELERS, answer, fill, labels_of

from understudy.commands.export import ExportConfig, export
from understudy.records import (
    Demonstration,
    Feedback,
    Prompt,
    Ranking,
    Rating,
    file_hash,
    read_records,
)
from understudy.store.engine import StoreRefused, reading, writing
from understudy.store.erasure.removal import forget_user
from understudy.store.exports.datasets import dataset_members, freeze
from understudy.store.exports.files import Selection, write_dataset
from understudy.store.exports.formats import SUFFIXES
from understudy.store.lineage import dataset_of
from understudy.store.maintenance import StoreDamaged, check
from understudy.store.prompts.records import FeedbackRow
from understudy.store.tables import dataset_records, labels

KINDS = {"demonstrations": Demonstration, "rankings": Ranking, "ratings": Rating}


@pytest.fixture
def filled(project):
    store = project.open_store()
    fill(store, 6)
    splits = dict(u0="train", u1="valid", u2="test")
    kept = [replace(p, split=splits[p.user_id], use_case="other") for p in store.prompts()]
    store.set_intake(kept, [])
    yield project, store
    store.engine.dispose()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_of_what_intake_dropped_train_nothing(filled) -> None:
    project, store = filled
    store.set_intake([], [("p0", "pii")])
    export(ExportConfig(kind="rankings", project=project.folder))
    records = read_records(project.datasets / "rankings-training.jsonl", Ranking)
    assert {record.prompt_id for record in records} == {"p1", "p3", "p4"}


@pytest.mark.parametrize("kind", KINDS)
def test_training_takes_training_labelers_and_no_test_users(filled, kind: str) -> None:
    project, store = filled
    said = export(ExportConfig(kind=kind, project=project.folder))
    path = project.datasets / f"{kind}-training.jsonl"
    records = read_records(path, KINDS[kind])
    assert {record.labeler_id for record in records} == {"l1"}
    assert {record.prompt_id for record in records} == {"p0", "p1", "p3", "p4"}
    assert file_hash(path) in said
    stored = {label.id: label for label in store.labels()}
    assert records == [stored[name] for name in sorted(record.id for record in records)]
    both = ExportConfig(kind=kind, project=project.folder, purpose="evaluation", split="test")
    export(both)
    records = read_records(project.datasets / f"{kind}-evaluation-test.jsonl", KINDS[kind])
    assert {record.labeler_id for record in records} == {"l1", "h1"}
    assert "the store is sound" in check(project)


def test_thumbs_are_exported_split_traced_and_forgotten(filled) -> None:
    project, store = filled
    own = {r.prompt_id: r for r in store.responses()}
    rows_of = [
        FeedbackRow(f"f{i}", own[name].id, "thumb", said, f"2026-01-0{i + 1}T00:00:00+00:00")
        for i, (name, said) in enumerate(
            [("p0", "down"), ("p0", "up"), ("p1", "down"), ("p2", "up")]
        )
    ]
    choice = FeedbackRow("c", own["p3"].id, "choice", 0, "2026-01-01T00:00:00+00:00")
    store.add_feedback([*rows_of, choice])
    said = export(ExportConfig(kind="feedback", project=project.folder))
    path = project.datasets / "feedback-training.jsonl"
    found = read_records(path, Feedback)
    # The newest thumb of a response; nothing of test users (p2), and a choice is no thumb.
    assert [(f.prompt_id, f.response, f.desirable, f.labeler_id, f.split) for f in found] == [
        ("p0", own["p0"].response, True, "u0", "train"),
        ("p1", own["p1"].response, False, "u1", "valid"),
    ]
    before = path.read_bytes()
    again = ExportConfig(kind="feedback", project=project.folder, overwrite=True)
    assert export(again) == said
    assert path.read_bytes() == before
    trl = ExportConfig(kind="feedback", project=project.folder, format="trl", split="train")
    export(trl)
    (row,) = rows(project.datasets / "feedback-training-train.trl.jsonl")
    assert row["completion"] == [{"role": "assistant", "content": own["p0"].response}]
    assert row["label"] is True
    traced = dataset_of(store, file_hash(path))
    assert traced is not None
    assert "2 feedback for training" in traced.line
    assert (traced.users, traced.prompts) == (("u0", "u1"), ("p0", "p1"))
    forget_user(project, "u0")
    assert [f.prompt_id for f in read_records(path, Feedback)] == ["p1"]
    assert "the store is sound" in check(project)
    store.set_intake([], [("p1", "pii")])
    with pytest.raises(ValueError, match="feedback"):
        export(replace(again, split="valid"))
    with pytest.raises(ValueError, match="use jsonl, csv or trl"):
        ExportConfig(kind="feedback", format="argilla")
    with pytest.raises(ValueError, match="feedback: labelers and rubric do not apply"):
        ExportConfig(kind="feedback", labelers=("l1",))


def test_a_held_out_labeler_is_refused_by_every_path(filled) -> None:
    project, store = filled
    for name, role in (("h1", "held_out"), ("s1", "researcher")):
        for kind in KINDS:
            config = ExportConfig(kind=kind, project=project.folder, labelers=("l1", name))
            for ask in (
                lambda c=config: freeze(store, c.selection, project.folder),
                lambda c=config: export(c),
            ):
                with pytest.raises(ValueError, match=f"'{name}' is {role}: .* never takes"):
                    ask()
    config = ExportConfig(kind="rankings", project=project.folder)
    dataset_id, number = freeze(store, config.selection, project.folder)
    held_out = select(labels.c.id, labels.c.prompt_id, labels.c.labeler_role)
    with reading(store.engine) as connection:
        label = connection.execute(held_out.where(labels.c.labeler_id == "h1")).first()
    row = {
        "dataset_id": dataset_id,
        "place": number,
        "purpose": "training",
        "prompt_id": label.prompt_id,
        "label_id": label.id,
    }
    for purpose, role in (
        ("training", "held_out"),  # as it is: a check refuses
        ("training", "training"),  # with a lie about the role: a foreign key refuses
        ("training", None),  # without one: another check
        ("evaluation", "held_out"),  # under another purpose than the dataset has
    ):
        values = {**row, "labeler_role": role, "purpose": purpose}
        with pytest.raises(StoreRefused), writing(store.engine) as connection:
            connection.execute(insert(dataset_records).values(values))
    assert sum(1 for _ in dataset_members(store, dataset_id)) == number


def test_a_revision_by_the_labeler_replaces_and_the_old_one_leaves(filled) -> None:
    project, store = filled
    prompt = next(store.prompts("train"))
    old = labels_of(prompt, LABELERS[0])[0]
    store.revise(old.id, replace(old, id="d-new", response="Better."))
    export(ExportConfig(kind="demonstrations", project=project.folder, split="train"))
    found = rows(project.datasets / "demonstrations-training-train.jsonl")
    assert [row["response"] for row in found if row["prompt_id"] == prompt.id] == ["Better."]


def test_the_same_query_gives_the_same_bytes(filled, tmp_path: Path) -> None:
    project, store = filled
    config = ExportConfig(kind="rankings", project=project.folder, rubric="v1")
    first = freeze(store, config.selection, project.folder)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    write_dataset(store, project, first[0], one)
    store.add_labels([labels_of(next(store.prompts()), LABELERS[1])[1]])  # a rating
    assert freeze(store, config.selection, project.folder) == first
    write_dataset(store, project, first[0], two)
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(ValueError, match="exists; pass --overwrite"):
        write_dataset(store, project, first[0], two)
    store.add_labels([labels_of(next(store.prompts()), LABELERS[1])[2]])  # a ranking
    second = freeze(store, config.selection, project.folder)
    assert second[0] != first[0]
    assert second[1] == first[1] + 1
    third = tmp_path / "three.jsonl"
    write_dataset(store, project, first[0], third)  # what is frozen stays
    assert third.read_bytes() == one.read_bytes()


@pytest.mark.parametrize("form", ["trl", "llama-factory", "argilla", "label-studio"])
def test_other_formats_have_names_of_their_own(filled, tmp_path: Path, form: str) -> None:
    project, store = filled
    export(ExportConfig(kind="rankings", project=project.folder, format=form))
    path = project.datasets / f"rankings-training{SUFFIXES[form]}"
    again = tmp_path / f"again{SUFFIXES[form]}"
    dataset_id, number = freeze(store, Selection(kind="rankings"), project.folder)
    write_dataset(store, project, dataset_id, again)
    assert path.read_bytes() == again.read_bytes()
    assert number == len([1 for label in store.labels() if isinstance(label, Ranking)]) - 8
    assert "the store is sound" in check(project)
    with pytest.raises(ValueError, match=f"must end in {SUFFIXES[form]}"):
        ExportConfig(kind="rankings", format=form, out=tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match=f"{form} does not support prompts"):
        ExportConfig(kind="prompts", format=form)
    with pytest.raises(ValueError, match=f"has the suffix of --format {form}|must end in .jsonl"):
        ExportConfig(kind="rankings", out=again)


def test_records_that_were_deleted_and_have_come_again_are_in_it_again(filled) -> None:
    project, store = filled
    config = ExportConfig(kind="rankings", project=project.folder)
    first = freeze(store, config.selection, project.folder)
    gone = [label for label in store.labels() if isinstance(label, Ranking)]
    with writing(store.engine) as connection:
        connection.execute(labels.delete().where(labels.c.kind == "ranking"))
    assert list(dataset_members(store, first[0])) == []
    store.add_labels(gone)
    assert freeze(store, config.selection, project.folder) == first
    assert sum(1 for _ in dataset_members(store, first[0])) == first[1]


def test_bytes_are_the_same_on_both_backends(filled) -> None:
    project, _ = filled
    for kind in ("rankings", "prompts"):
        export(ExportConfig(kind=kind, project=project.folder))
    hashes = [
        file_hash(project.datasets / f"{kind}-training.jsonl") for kind in ("rankings", "prompts")
    ]
    assert hashes == KNOWN_HASHES


KNOWN_HASHES = [
    "8fedd7feffa1d5a3bc9696639c4fff1d0b4c5196c10d0a753a3f3a9fe733790f",
    "97cc9411a47474e513bed4c168ded3073c16a2e88eaeb8e5eaf1bf947d75afec",
]
"""Of the rankings and the prompts: equal on both backends, and in every later version."""


def test_an_interrupted_export_goes_on(filled, tmp_path: Path) -> None:
    project, store = filled
    store.add_prompts(Prompt(id=f"q{i:04}", prompt=f"Q {i}", user_id="u0") for i in range(1100))
    store.set_intake((replace(p, split="train") for p in store.prompts(built=False)), [])
    name, number = freeze(store, Selection(kind="prompts"), project.folder)
    whole = tmp_path / "whole.jsonl"
    write_dataset(store, project, name, whole)
    assert len(rows(whole)) == number == 1104
    lines = whole.read_bytes().splitlines(keepends=True)
    for done in (0, 1, 499, 500, 501, 1104):
        out = tmp_path / f"cut{done}.jsonl"
        partial = out.with_name(f".{out.name}.{name}.partial")
        partial.write_bytes(b"".join(lines[:done]) + b'{"id": "half')
        write_dataset(store, project, name, out)
        assert out.read_bytes() == whole.read_bytes(), done


def test_an_empty_training_export_says_why(project) -> None:
    store = project.open_store()
    fill(store, 6)
    prompts = ExportConfig(kind="prompts", project=project.folder)
    with pytest.raises(
        ValueError, match="no prompt has a split yet; run `understudy prompts build"
    ):
        freeze(store, prompts.selection, project.folder)
    store.set_intake([replace(p, split="test") for p in store.prompts(built=False)], [])
    for kind, number in (("prompts", 6), ("rankings", 12)):
        config = ExportConfig(kind=kind, project=project.folder)
        with pytest.raises(ValueError, match=f"none of the {number} {kind} may be .* evaluation"):
            freeze(store, config.selection, project.folder)
    assert freeze(store, replace(prompts, purpose="evaluation").selection, project.folder)[1] == 6
    store.engine.dispose()


def test_nothing_to_export_and_wrong_asks(filled) -> None:
    project, store = filled
    with pytest.raises(ValueError, match="the store has no rankings"):
        freeze(store, Selection(kind="rankings", labelers=("l2",)), project.folder)
    with pytest.raises(ValueError, match="'x' is not in the store"):
        freeze(store, Selection(kind="rankings", labelers=("x",)), project.folder)
    for wrong in ({"split": "test"}, {"out": Path("x.csv")}):
        with pytest.raises(ValueError, match=r"evaluation|jsonl"):
            ExportConfig(kind="rankings", **wrong)


def test_check_finds_a_changed_dataset(filled) -> None:
    project, _ = filled
    export(ExportConfig(kind="ratings", project=project.folder))
    path = project.datasets / "ratings-training.jsonl"
    path.write_text(path.read_text().replace('"likert": 6', '"likert": 1'))
    with pytest.raises(StoreDamaged, match="differs from what was exported"):
        check(project)


def test_rankings_take_their_prompts_group(filled) -> None:
    """The dataset's name depends on the groups, and is what it was where there are none."""
    project, store = filled
    selection = Selection(kind="rankings")
    before = freeze(store, selection, project.folder)[0]
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    tagged = replace(prompts["p1"], tags={"group": "nurses", "sensitive": False})
    store.set_intake([tagged], [])
    after = freeze(store, selection, project.folder)[0]
    assert after != before
    group_of = {one.prompt_id: one.group for one in dataset_members(store, after)}
    assert group_of.pop("p1") == "nurses"
    assert set(group_of.values()) == {None}
    # What a labeler has said stays, and rules that run later do not replace it.
    store.set_intake([replace(prompts["p1"], tags={"group": "parents"})], [])
    assert freeze(store, selection, project.folder)[0] == after
    assert {p.id: p.tags for p in store.prompts()}["p1"] == {
        **prompts["p1"].tags,
        "group": "nurses",
    }


def test_ratings_take_the_policy_of_their_prompts_context(filled) -> None:
    """The store keeps it once, as the prompt's tag, and exports it with every rating."""
    project, store = filled
    known = next(prompt for prompt in store.prompts() if prompt.id == "p1")
    prompt = replace(known, id="p9", tags={"policy": "children"})
    store.add_prompts([prompt])
    store.set_intake([replace(prompt, split="train")], [])
    store.add_responses(answer(prompt, number) for number in range(2))
    rating = next(one for one in labels_of(prompt, LABELERS[0]) if isinstance(one, Rating))
    with pytest.raises(ValueError, match="says that its prompt has the policy 'shop', but the tag"):
        store.add_labels([replace(rating, policy="shop")])
    store.add_labels([replace(rating, policy="children"), replace(rating, id="unsaid")])
    export(ExportConfig(kind="ratings", project=project.folder))
    records = read_records(project.datasets / "ratings-training.jsonl", Rating)
    assert {one.policy for one in records if one.prompt_id == "p9"} == {"children"}
    assert {one.policy for one in records if one.prompt_id != "p9"} == {None}


def test_a_ranking_names_the_group_that_its_prompt_has(filled) -> None:
    _, store = filled
    known = next(one for one in store.labels() if isinstance(one, Ranking))
    with pytest.raises(ValueError, match="has the group 'nurses', but the tag `group` of prompt"):
        store.add_labels([replace(known, id="new", group="nurses")])
