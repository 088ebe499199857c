from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.stores import make_project

from understudy.cli import main
from understudy.labeling.plan import PlanConfig, plan
from understudy.records import Prompt, Response
from understudy.store import Store
from understudy.store.engine import reading
from understudy.store.labeling_tables import item_responses, items


@pytest.fixture
def project(tmp_path: Path):
    return make_project("sqlite", tmp_path / "project")


def fill(store: Store, num: int) -> None:
    """Half of the prompts have answers, three of them of which two are alike; one was dropped."""
    prompts = [
        Prompt(
            id=f"p{i:03}",
            prompt=f"{i}?",
            user_id=f"u{i}",
            split=("train", "train", "train", "train", "valid", "test")[i % 6],
        )
        for i in range(num)
    ]
    store.add_prompts([*prompts, Prompt(id="raw", prompt="Hm", user_id="u")])
    store.set_intake(prompts, [("raw", "pii")])
    store.add_responses(
        Response(id=f"{p.id}-{k}", prompt_id=p.id, prompt=p.prompt, response=text, model=f"m{k}")
        for p in prompts[::2]
        for k, text in enumerate(("a", "b", " a"))
    )


def rows(store: Store, table=items) -> list:
    with reading(store.engine) as connection:
        return list(connection.execute(select(table)).mappings())


def test_the_queue_is_what_there_is_to_label(project) -> None:
    store = project.open_store()
    fill(store, 60)
    said = plan(PlanConfig(project=project.folder, overlap=0.0))
    # Every second prompt has answers: of the 6 splits in turn those are train, train, valid.
    # Of the others (train, train, test) the test prompts need no demonstration.
    assert said == "demonstrate: 20 items added\nrank: 40 items added"
    counts = Counter((row["kind"], row["purpose"]) for row in rows(store))
    assert counts == {
        ("demonstrate", "training"): 20,
        ("rank", "training"): 30,
        ("rank", "evaluation"): 10,
    }
    assert len(rows(store, item_responses)) == 40 * 2, "two different answers each"
    assert plan(PlanConfig(project=project.folder)) == (
        "demonstrate: 0 items added\nrank: 0 items added"
    )
    assert sorted(row["priority"] for row in rows(store) if row["kind"] == "rank") == list(
        range(40)
    )


def test_a_share_is_for_several_people(project) -> None:
    store = project.open_store()
    fill(store, 600)
    plan(PlanConfig(project=project.folder, kinds=("rank",), overlap=0.15))
    pools = Counter((row["pool"], row["wanted"], row["max_wanted"]) for row in rows(store))
    assert set(pools) == {("single", 1, 5), ("calibration", 3, 5)}
    assert 0.1 < pools["calibration", 3, 5] / 400 < 0.2


def test_prompts_to_write_come_in_the_three_kinds(project, tmp_path: Path) -> None:
    (tmp_path / "cases.txt").write_text("plans days\n\nsorts mail\n")
    config = PlanConfig(
        project=project.folder,
        kinds=("write",),
        num_prompts=8,
        use_cases=tmp_path / "cases.txt",
    )
    assert plan(config) == "write: 8 items added"
    briefs = Counter(row["brief"] for row in rows(project.open_store()))
    assert set(briefs.values()) == {2}
    assert '{"style":"user_based","text":"sorts mail"}' in briefs


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (dict(overlap=1.5), "overlap is 1.5; it must be a share"),
        (dict(max_answers=1), "max_answers is 1; it must be from 2"),
        (dict(max_labels=0), "max_labels is 0; it must be 1 or more"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PlanConfig(**setting)


def test_the_way_from_the_command_line(project, capsys) -> None:
    at = ("--project", str(project.folder))
    assert main(["labelers", "list", *at]) == 0
    assert "no accounts" in capsys.readouterr().out
    assert main(["labelers", "invite", "Ann", "--role", "training", *at]) == 0
    link = capsys.readouterr().out
    assert link.startswith("http://127.0.0.1:8080/invitation#")
    assert main(["labelers", "invite", "ann", *at]) == 2
    assert "the name ann is taken" in capsys.readouterr().err
    assert main(["labelers", "invite", "Olga", "--owner", *at]) == 0
    assert main(["labelers", "disable", "ANN", *at]) == 0
    capsys.readouterr()
    main(["labelers", "list", *at])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("training, practice, disabled, link not used yet")
    assert lines[1].endswith("owner, active, link not used yet")
    assert main(["labelers", "enable", "Ann", *at]) == 0
    assert main(["labelers", "reset", "Ann", *at]) == 0
    assert main(["labelers", "reset", "Bob", *at]) == 2
    assert "no account is named 'Bob'" in capsys.readouterr().err
    assert main(["labels", "plan", *at]) == 0


def test_a_users_prompt_with_the_answer_that_it_came_with_is_demonstrated(project) -> None:
    store = project.open_store()
    fill(store, 6)  # p000, p002 and p004 have two different answers
    lone = Prompt(id="lone", prompt="Alone?", user_id="u", split="train")
    store.add_prompts([lone])
    store.set_intake([lone], [])
    store.add_responses(
        Response(id="r", prompt_id="lone", prompt="Alone?", response="Yes.", model="gateway")
        for _ in range(1)
    )
    plan(PlanConfig(project=project.folder))
    asked = {row["prompt_id"] for row in rows(store) if row["kind"] == "demonstrate"}
    assert asked == {"lone", "p001", "p003"}
    plan(PlanConfig(project=project.folder, demonstrate_answered=True))
    asked = {row["prompt_id"] for row in rows(store) if row["kind"] == "demonstrate"}
    assert asked == {"lone", "p000", "p001", "p002", "p003", "p004"}


def test_a_team_smaller_than_the_overlap_is_told(project, capsys) -> None:
    fill(project.open_store(), 6)
    at = ("--project", str(project.folder))
    assert main(["labelers", "invite", "Ann", "--role", "training", *at]) == 0
    capsys.readouterr()
    assert main(["labels", "plan", *at]) == 0
    said = capsys.readouterr().out
    assert "need 3 people, but only 1 can label for training" in said
    assert "need 3 people, but only 0 can label for evaluation" in said
    assert main(["labels", "plan", "--labels-per-overlap", "1", *at]) == 0
    assert "note" not in capsys.readouterr().out


def test_a_decision_on_the_command_line(project, capsys) -> None:
    at = ("--project", str(project.folder))
    for name, role in (("Ann", ["--role", "training"]), ("Bo", [])):
        assert main(["labelers", "invite", name, *role, *at]) == 0
    assert main(["labelers", "decide", "Ann", *at]) == 0
    assert main(["labelers", "decide", "Bo", *at]) == 2
    assert main(["labelers", "decide", "Bo", "--refuse", "--reason", "too fast", *at]) == 0
    assert main(["labelers", "decide", "Ann", "--role", "held_out", *at]) == 2
    assert main(["labelers", "decide", "Cy", "--refuse", *at]) == 2
    said = capsys.readouterr()
    assert "Ann may work as training" in said.out
    assert "Bo is rejected" in said.out
    assert "Bo has no role yet; give --role or --refuse" in said.err
    assert "Ann is training, and a role never changes" in said.err
    assert "no account is named 'Cy'" in said.err
    assert main(["labelers", "list", *at]) == 0
    assert "training, active" in capsys.readouterr().out
