"""The plan of a study: what its arms share, and where they differ."""

import importlib
import re
from dataclasses import replace

import pytest

from understudy.cli import main
from understudy.evaluation.sections import ablation_section
from understudy.loop.ablation import ablation_plan
from understudy.loop.recipe import load_recipe
from understudy.loop.study import FACTORS, study_plan

METHODS = {"ppo", "rloo", "grpo", "raft", "dpo"}


@pytest.fixture
def recipe(tmp_path):
    """The demo's recipe with a folder as the base model of every size."""
    (tmp_path / "config.json").write_text("{}")
    recipe = load_recipe("demo")
    base = str(tmp_path)
    return replace(recipe, world=replace(recipe.world, policy_size=base, reward_size=base))


def test_every_method_starts_alike_and_has_the_same_budget_and_sweep(recipe):
    plan = study_plan(recipe, 0, "methods")
    arms = plan["study_methods"].config["arms"]
    assert {arm["series"] for arm in arms} == METHODS
    for method in METHODS:
        runs = [plan[arm["stage"]] for arm in arms if arm["series"] == method]
        assert [run.config["lr"] / recipe.ppo["lr"] for run in runs] == list(FACTORS)
        assert {run.input_lists()["model"][0].stage for run in runs} == {"rl_init"}
        if method != "dpo":
            assert {run.config["episodes"] for run in runs} == {recipe.ppo["episodes"]}
            assert {run.config["batch_size"] for run in runs} == {recipe.ppo["batch_size"]}
            assert {run.input_lists()["prompts"][0].output for run in runs} == {"ppo.jsonl"}
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_ppos_arms_are_those_of_the_ablation_of_its_rate(recipe):
    study, ablation = study_plan(recipe, 0, "methods"), ablation_plan(recipe, 0, "lr")
    shared = ["ppo", "lr-ppo-0.5", "lr-ppo-2", "ablated_ppo", "tax_ppo"]
    assert all(study[name] == ablation[name] for name in shared)


def test_a_study_and_an_ablation_exclude_each_other(capsys):
    assert main(["demo", "--study", "methods", "--ablation", "lr"]) == 2
    assert "give --ablation or --study, not both" in capsys.readouterr().err


def test_the_report_has_a_row_per_method_at_its_best_rate():
    arm = {"benchmarks": {}, "samples": 6144, "seconds": 90.0, "win_rate": {"rate": 0.5}}
    arms = [
        {**arm, "series": series, "value": value, "win_rate_gold": {"rate": rate}}
        for series, value, rate in (
            ("ppo", "0.1", 0.61),
            ("ppo", "0.2", 0.64),
            ("dpo", "0.1", 0.66),
            ("dpo", "0.2", 0.58),
        )
    ]
    html = ablation_section({"ablation": {"axis": "rate", "arms": arms}})
    table = html[: html.index("</table>")]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in table.split("<tr>")[2:]]
    assert [row[:4] for row in rows] == [
        ["PPO", "0.2", "6,144", "50%"],
        ["DPO", "0.1", "6,144", "50%"],
    ]
    assert "best of its 2 learning rates" in html
    del arms[0]["seconds"]
    assert "best of its" not in ablation_section({"ablation": {"axis": "rate", "arms": arms}})
