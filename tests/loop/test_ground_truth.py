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
    """The demo's plan, run as far as the gate and SFT's own answers, with a seed that nothing was
    tuned on."""
    root = tmp_path_factory.mktemp("demo")
    plan = up_to(
        demo_plan(load_recipe("demo"), SEED),
        "reward_check",
        "gate",
        "without_labels",
        "adversaries",
    )
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
def test_at_least_half_of_what_the_reward_model_knows_comes_from_labels(folder):
    """The base model's own verdict agrees with the gold judge little more often than chance."""
    trained = json.loads((folder / "reward_check" / "reward.json").read_text())["accuracy_gold"]
    known = json.loads((folder / "without_labels" / "without_labels.json").read_text())
    assert known["rate"] <= 0.65
    assert trained["rate"] - known["rate"] >= 0.5 * (trained["rate"] - 0.5)


@pytest.mark.slow
def test_no_cheap_trick_is_preferred_to_sft(folder):
    """Constants, echoes, lengths, likelihood, the base's own choice: none above 60%."""
    found = json.loads((folder / "adversaries" / "adversaries.json").read_text())
    for group in ("held_out", "gold"):
        assert len(found[group]) >= 10
        winners = {name: row["rate"] for name, row in found[group].items() if row["rate"] > 0.6}
        assert not winners, group


@pytest.mark.slow
def test_screening_finds_the_careless_labelers(folder):
    """12 pass, the 2 careless ones do not."""
    accepted = json.loads((folder / "screening" / "labelers.json").read_text())["accepted"]
    assert len(accepted) == 12
    assert not {"training-13", "training-14"} & set(accepted)
