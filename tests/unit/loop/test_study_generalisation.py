"""The study of generalisation: nothing that is left out enters training."""

import importlib
import json
from dataclasses import replace

import pytest

from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.studied_generalisation import (
    by_side,
    folds,
    kinds_of,
    leave_out,
    new_prompts,
)
from understudy.loop.study import study_plan
from understudy.loop.study_generalisation import FOLDS, HELD_OUT
from understudy.records import Demonstration, Prompt, Ranking, read_records, write_records
from understudy.world.reserved import reserved_for
from understudy.world.tasks import parse
from understudy.world.users import user_prompts


@pytest.fixture
def plan(tmp_path):
    """The study's plan, with a folder as the base model of every size."""
    (tmp_path / "config.json").write_text("{}")
    recipe, base = load_recipe("demo"), str(tmp_path)
    world = replace(recipe.world, policy_size=base, reward_size=base)
    return study_plan(replace(recipe, world=world), 0, "generalisation")


def test_models_without_the_two_kinds_learn_from_what_is_left_only(plan):
    for stage, inputs in {
        "unseen-sft": {"data", "valid_data"},
        "unseen-rl_init": {"data", "valid_data"},
        "unseen-sample-0": {"model", "prompts"},
        "unseen-rankings": {"prompts", "responses"},
        "unseen-reward": {"model", "data", "demonstrations"},
        "unseen-ppo_ptx": {"model", "reward_model", "prompts"},
    }.items():
        for name in inputs:
            (one,) = plan[stage].input_lists()[name][:1]
            assert one.stage.startswith("unseen-"), (stage, name)
    same = ("sft", "rl_init", "reward", "ppo_ptx")
    assert all(plan[f"unseen-{name}"].config == plan[name].config for name in same)


def test_every_stage_has_a_function(plan):
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_a_kind_is_left_out_wherever_a_prompt_mentions_it(tmp_path):
    sent = user_prompts(60, seed=0)
    asked = [p for p in sent if "zog" in p.prompt or p.prompt.startswith("list")]
    assert any(p.tags.get("planted") == "personal_data" for p in sent)
    asked.append(replace(sent[0], prompt="my ssn is [ssn]. say this in zog: the cat eats jam."))
    shown = [
        Demonstration(id=f"d{i}", prompt_id=p.id, prompt=p.prompt, response="x.", labeler_id="l")
        for i, p in enumerate(asked)
    ]
    inputs = {}
    for name, rows in (
        ("demonstrations", shown),
        ("valid", shown),
        ("rank", asked),
        ("ppo", asked),
    ):
        write_records(tmp_path / f"{name}.jsonl", rows)
        inputs[name] = (tmp_path / f"{name}.jsonl",)
    out = tmp_path / "out"
    out.mkdir()
    config = {"seed": 0, "kinds": list(HELD_OUT), "number": 30, "num_trained": 5}
    leave_out(StageCall(name="x", inputs=inputs, config=config, out=out, root=tmp_path))
    for name, record in (("demonstrations", Demonstration), ("rank", Prompt), ("ppo", Prompt)):
        kept = read_records(out / f"{name}.jsonl", record)
        assert 0 < len(kept) < len(asked)
        assert not any("zog" in row.prompt for row in kept)
    assert len(read_records(out / "trained.jsonl", Prompt)) == 5
    assert {kind for p in read_records(out / "extract.jsonl", Prompt) for kind in kinds_of(p)} == {
        "extract"
    }


def test_prompts_of_a_kind_are_new_and_their_user_is_the_request():
    prompts = new_prompts("zog", 40, seed=0)
    tasks = [parse(p.prompt) for p in prompts]
    assert all(reserved_for(task.request) == "test" for task in tasks)
    assert [p.user_id for p in prompts] == [task.request for task in tasks]
    assert len({p.user_id for p in prompts}) < 40 == len({p.id for p in prompts})


def test_folds_measure_one_set_of_rankings_and_each_leaves_out_other_labelers(tmp_path):
    rankings = [
        Ranking(
            id=f"r{i}",
            prompt_id=f"p{i}",
            prompt="q",
            responses=("a", "b"),
            tiers=((0,), (1,)),
            labeler_id=f"l{i % 7}",
        )
        for i in range(70)
    ]
    write_records(tmp_path / "rankings.jsonl", rankings)
    inputs = {"rankings": (tmp_path / "rankings.jsonl",)}
    config = {"seed": 0, "folds": FOLDS, "number": 60}
    folds(StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path))
    measured, out = [], []
    for index in range(FOLDS):
        valid = read_records(tmp_path / f"fold-{index}" / "valid.jsonl", Ranking)
        train = read_records(tmp_path / f"fold-{index}" / "train.jsonl", Ranking)
        measured.append([r.id for r in valid])
        out.append({r.labeler_id for r in valid if r.labeler_role == "held_out"})
        assert not {r.labeler_id for r in train} & out[-1]
        assert not {r.id for r in train} & set(measured[-1])
    assert all(ids == measured[0] for ids in measured)
    assert sum(map(len, out)) == len(set().union(*out))


def test_each_pair_counts_once_on_either_side_by_hand():
    """Three models, two rankings of two pairs and one; model 0 left out the first's labeler."""
    right = [[[1.0, 0.0], [1.0]], [[0.0, 1.0], [0.0]], [[1.0, 1.0], [0.5]]]
    left_out = [[True, False], [False, True], [False, False]]
    seen, unseen = by_side(right, left_out)
    assert seen == [0.5, 1.0, 0.75]
    assert unseen == [1.0, 0.0, 0.0]


def test_a_study_without_a_place_for_your_labels_refuses_them(capsys):
    from understudy.cli import main

    assert main(["demo", "--study", "generalisation", "--label", "3"]) == 2
    assert "the study generalisation does not use your labels" in capsys.readouterr().err


def test_the_report_has_a_figure_for_each_part_of_a_study():
    from understudy.evaluation.study_sections import study_section

    panel = {"Everything": {"SFT": {"rate": 0.4, "low": 0.3, "high": 0.5, "n": 9}}}
    study = {"panels": panel, "caption": "First.", "more": [{"title": "T.", "caption": "Second."}]}
    study["more"][0]["panels"] = panel
    html = study_section({"study": json.loads(json.dumps(study))})
    assert html.count("<svg") == 2
    assert html.index("First.") < html.index("Second.")
