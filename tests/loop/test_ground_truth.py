"""What the demo claims, held against what is known in the tiny world. Slow: it trains."""

import json
from pathlib import Path

import pytest

from understudy.loop.demo import PRELOAD
from understudy.loop.demo_plan import demo_plan
from understudy.loop.plan import Plan
from understudy.loop.recipe import load_recipe
from understudy.loop.runner import run_plan

SEED = 11


def up_to(plan: Plan, *names: str) -> Plan:
    """The stages that these need, and these."""
    needed, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(plan[name].needs())
    return Plan(tuple(stage for stage in plan.stages if stage.name in needed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The demo's plan, run as far as the gate, with a seed that nothing was tuned on."""
    root = tmp_path_factory.mktemp("demo")
    plan = up_to(demo_plan(load_recipe("demo"), SEED), "reward_check", "gate")
    run_plan(plan, root, preload=PRELOAD)
    return root


@pytest.mark.slow
def test_the_reward_model_goes_most_of_the_way_to_its_ceiling(folder):
    """From chance to the Bayes accuracy: at least 70% of the way, over both pools of labelers."""
    found = json.loads((folder / "reward_check" / "reward.json").read_text())
    reached = [found[f"accuracy_{pool}_labelers"]["rate"] - 0.5 for pool in ("training", "heldout")]
    ceiling = [found[f"bayes_accuracy{pool}"] - 0.5 for pool in ("", "_heldout")]
    assert sum(reached) > 0.7 * sum(ceiling), found
    assert found["accuracy_training_labelers"]["rate"] > found["length_only"]["rate"] + 0.05


@pytest.mark.slow
def test_the_agreement_estimate_recovers_the_planted_noise(folder):
    """The interval of the estimate from overlapping labels holds the planted agreement."""
    found = json.loads((folder / "reward_check" / "reward.json").read_text())
    estimate = found["labeler_agreement"]
    assert estimate["low"] - 0.02 < found["planted_agreement"] < estimate["high"] + 0.02
    assert 0.68 < found["planted_agreement"] < 0.79


@pytest.mark.slow
def test_the_reward_model_passes_the_gate(folder):
    """Best of 4 and of 16 by its score beat one answer, by the gold judge."""
    gate = json.loads((folder / "gate" / "best_of.json").read_text())["gate"]
    assert gate["passed"]
    assert all(interval["low"] > 0.5 for interval in gate["best_of"].values())


@pytest.mark.slow
def test_screening_finds_the_careless_labelers(folder):
    """12 pass, the 2 careless ones do not."""
    accepted = json.loads((folder / "screening" / "labelers.json").read_text())["accepted"]
    assert len(accepted) == 12
    assert not {"training-13", "training-14"} & set(accepted)
