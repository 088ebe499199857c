"""The demo's folder is a project: what its stages put into the store, and what leaves it."""

import ast
import importlib
import json
from pathlib import Path

import pytest
from tests.stores import answer

from understudy.loop.demo_plan import demo_plan
from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.project import MADE_OF, put_labelers, put_labels, store_of
from understudy.loop.stages.users import prompts
from understudy.records import Demonstration, LabelerInfo, Prompt, Rating, read_records
from understudy.store import open_project, tables
from understudy.store.maintenance import check

COUNTS = {
    "num_demonstrations": 10,
    "num_rankings": 10,
    "num_valid_demonstrations": 2,
    "num_valid_rankings": 2,
    "num_screening_prompts": 4,
    "num_prompts": 5,
    "num_closed_prompts": 2,
    "num_rude_prompts": 2,
}


def send_prompts(root: Path, num_users: int = 40) -> StageCall:
    """The stage "prompts" in a small world."""
    (root / "prompts").mkdir(parents=True, exist_ok=True)
    config = {"seed": 0, "num_users": num_users, "intake": {"max_per_group": 50}, **COUNTS}
    call = StageCall(name="prompts", inputs={}, config=config, out=root / "prompts", root=root)
    prompts(call)
    return call


@pytest.fixture
def call(tmp_path: Path) -> StageCall:
    return send_prompts(tmp_path / "demo")


def demonstrations(store, labeler: str) -> list[Demonstration]:
    """One for each prompt of the train split."""
    return [
        Demonstration(
            id=f"d-{p.id}", prompt_id=p.id, prompt=p.prompt, response="Yes.", labeler_id=labeler
        )
        for p in store.prompts("train")
    ]


def test_users_prompts_enter_the_store_and_leave_as_a_dataset(call: StageCall) -> None:
    store = store_of(call)
    raw = read_records(call.out / "raw.jsonl", Prompt)
    assert len(list(store.prompts())) == len(raw)
    trained_on = read_records(call.out / "ppo.jsonl", Prompt)
    assert trained_on == list(store.prompts("train"))
    intake = json.loads((call.out / "intake.json").read_text())
    assert intake["num_in"] == len(raw)
    assert intake["files"]["ppo"] == len(trained_on)
    assert intake["num_kept"] == len(list(store.prompts(built=True)))
    assert "the store is sound" in check(open_project(call.root))


@pytest.mark.thorough
def test_the_same_prompts_keep_the_store_and_other_ones_get_a_new_one(call: StageCall) -> None:
    store = store_of(call)
    put_labelers(store, [LabelerInfo(id="l1", role="training")])
    put_labels(store, "demonstration", demonstrations(store, "l1"))
    first = (call.out / "project.json").read_text(), (call.out / "ppo.jsonl").read_bytes()
    send_prompts(call.root)
    assert ((call.out / "project.json").read_text(), (call.out / "ppo.jsonl").read_bytes()) == first
    assert len(list(store.labels())) == len(list(store.prompts("train")))
    (call.root / MADE_OF).unlink()  # as if it had been killed while it made the store
    send_prompts(call.root)
    assert list(store_of(call).labels()) == []
    send_prompts(call.root, num_users=41)
    assert (call.out / "project.json").read_text() != first[0]
    assert "the store is sound" in check(open_project(call.root))


def test_a_stage_that_runs_again_takes_back_what_it_had_added(call: StageCall) -> None:
    store = store_of(call)
    people = [LabelerInfo(id="l1", role="training"), LabelerInfo(id="h1", role="held_out")]
    put_labelers(store, people)
    put_labels(store, "demonstration", demonstrations(store, "l1"))
    test = list(store.prompts("test"))[:2]
    cold = [answer(p, 0) for p in test]
    ratings = [
        Rating(id=f"a-{r.id}", prompt_id=r.prompt_id, response_id=r.id, labeler_id="h1", likert=4)
        for r in cold
    ]
    mine = tables.prompts.c.split == "test"
    for _ in range(2):
        put_labels(store, "rating", ratings, about=cold, where=mine)
        put_labels(store, "demonstration", demonstrations(store, "l1")[:3])
        assert sum(isinstance(label, Rating) for label in store.labels()) == 2
        assert sum(isinstance(label, Demonstration) for label in store.labels()) == 3
    put_labels(store, "rating", ratings[:1], about=cold[:1], where=mine)
    assert [response.id for response in store.responses()] == [cold[0].id]
    put_labelers(store, people)
    assert len(list(store.labels())) == 4
    put_labelers(store, people[1:])
    assert list(store.labels()) == []
    assert store.labelers() == people[1:]


def uses_the_store(function: str) -> bool:
    """Whether a stage's function opens the store, or something in its module that it names does."""
    module, _, name = function.partition(":")
    tree = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    todo, seen = [name], set()
    while todo:
        seen.add(name := todo.pop())
        if name == "store_of":
            return True
        if name in functions:
            found = {n.id for n in ast.walk(functions[name]) if isinstance(n, ast.Name)}
            todo += found - seen
    return False


def test_every_stage_that_adds_to_the_store_waits_for_it() -> None:
    stages = demo_plan(load_recipe("quick"), seed=0).stages
    adding = {stage.name for stage in stages if uses_the_store(stage.function)}
    assert adding == {
        *("screening", "demonstrations", "rankings"),
        *("judge_sampled", "judge_greedy"),
    }
    assert all("project" in stage.inputs for stage in stages if stage.name in adding)
