"""The paper's ablations of RL (App. E.6 to E.11) in the tiny world, on a demo's artifacts.

    understudy demo --ablation beta

Each ablation is a few runs of PPO and PPO-ptx that differ in one setting, judged like the demo's
models. They share the demo's folder and reuse its finished stages; the demo's own PPO and PPO-ptx
are points of each curve. Departure: settings are multiples of the recipe's, since a model of a
million parameters needs other values than the paper's.

    beta    coefficient of the KL penalty, 0 to 100 times the recipe's (Figure 34)
    ptx     coefficient of the pretraining mix, 0 to 25 times the recipe's (Figure 33)
    lr      learning rate, a quarter to eight times the recipe's
    init    the RL init: epochs of SFT, and share of pretraining text in it
    epochs  length of RL, in multiples of the recipe's episodes
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_evaluation import model_of
from understudy.loop.demo_plan import add_rl, add_rl_init, build_until_rl
from understudy.loop.plan import Plan
from understudy.loop.recipe import Recipe

Ablation = Literal["beta", "ptx", "lr", "init", "epochs"]
Settings = Mapping[str, Any]

AXES = {
    "beta": "KL coefficient (beta)",
    "ptx": "pretraining coefficient (ptx_coef)",
    "lr": "learning rate of the policy",
    "init": "epochs of SFT / share of pretraining text in the RL init",
    "epochs": "episodes of RL",
}
FACTORS = {
    ("beta", "ppo"): (0.0, 0.1, 1.0, 10.0, 100.0),
    ("beta", "ppo_ptx"): (0.0, 0.1, 1.0, 10.0, 100.0),
    ("ptx", "ppo_ptx"): (0.0, 0.04, 0.2, 1.0, 5.0, 25.0),
    ("lr", "ppo"): (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    ("lr", "ppo_ptx"): (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    ("epochs", "ppo"): (0.25, 0.5, 1.0, 2.0),
    ("epochs", "ppo_ptx"): (0.25, 0.5, 1.0, 2.0, 4.0),
}
"""Multiples of the recipe's value, by ablation and kind of RL."""
FIELD = {"beta": "beta", "ptx": "ptx_coef", "lr": "lr", "epochs": "episodes"}
INITS = ((1, 0.0), (1, 0.1), (1, 0.5), (2, 0.0), (2, 0.1), (2, 0.5))
"""Epochs and share of pretraining text (E.8)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One point of a curve."""

    stage: str
    """The stage of its RL run: the demo's own if the settings are the same."""
    series: str
    """ppo or ppo_ptx."""
    value: str
    """The setting as text."""
    rl: Settings = field(default_factory=dict)
    """Changes to PPO's settings."""
    init: Settings = field(default_factory=dict)
    """Changes to the RL init's settings."""


def ablation_plan(recipe: Recipe, seed: int, name: Ablation, label: int = 0) -> Plan:
    """The demo's stages until RL, then an ablation with its own report."""
    build = build_until_rl(recipe, seed, label)
    arms = list(arms_of(recipe, name))
    for arm in arms:
        add_arm(build, arm)
    add_test_responses(build, "sft")
    stages = dict.fromkeys(arm.stage for arm in arms)
    samples = {f"samples_{stage}": build[f"{stage}/run/samples.jsonl"] for stage in stages}
    add_report(build, f"ablation_{name}", name, AXES[name], arms, samples)
    wanted = needed(build, f"ablation_{name}")
    return Plan(tuple(stage for stage in build.stages.values() if stage.name in wanted))


def arms_of(recipe: Recipe, name: Ablation) -> Iterator[Arm]:
    """The points of an ablation, in their order."""
    if name == "init":
        own = {"epochs": recipe.rl_init["epochs"], "pretrain_fraction": _mix(recipe)}
        for epochs, mix in INITS:
            init = {"epochs": epochs, "pretrain_fraction": mix}
            stage = "ppo_ptx" if init == own else f"init-{epochs}-{mix:g}"
            value = f"{epochs} / {100 * mix:.0f}%"
            yield Arm(stage=stage, series="ppo_ptx", value=value, init={} if init == own else init)
        return
    for (ablation, series), factors in FACTORS.items():
        if ablation == name:
            own = {**recipe.ppo, **(recipe.ppo_ptx if series == "ppo_ptx" else {})}
            for factor in factors:
                yield _arm(name, series, factor, own[FIELD[name]])


def _arm(name: str, series: str, factor: float, own: float) -> Arm:
    value = type(own)(own * factor) if factor else 0.0
    if factor == 1 or (name, factor) == ("ptx", 0):
        stage, rl = ("ppo" if factor == 0 else series), {}
    else:
        stage, rl = f"{name}-{series}-{factor:g}", {FIELD[name]: value}
    return Arm(stage=stage, series=series, value=f"{value:g}", rl=rl)


def _mix(recipe: Recipe) -> float:
    return float(recipe.rl_init.get("pretrain_fraction", 0.0))


def add_arm(build: Build, arm: Arm) -> None:
    """RL with this arm's settings, its responses to the test prompts, its benchmarks."""
    start = "rl_init"
    if arm.init:
        start = f"{arm.stage}-start"
        add_rl_init(build, start, arm.init)
    if arm.stage not in build.stages:
        add_rl(build, arm.stage, arm.series, start, arm.rl)
    add_measurements(build, arm.stage)


def add_measurements(build: Build, stage: str) -> None:
    """A model's responses to the test prompts, and its benchmarks."""
    if f"ablated_{stage}" in build.stages:
        return
    add_test_responses(build, stage)
    build.add(
        f"tax_{stage}",
        "the alignment tax: benchmarks and pretraining loss",
        "measure:tax",
        ("tax.json",),
        {
            "model": model_of(build, stage),
            "benchmarks": build["benchmarks/items"],
            "text": build["text/held_out.jsonl"],
        },
        group="tax",
    )


def add_test_responses(build: Build, stage: str) -> None:
    """A model's responses to the test prompts; SFT's are the baseline of all comparisons."""
    add_responses(
        build,
        f"ablated_{stage}",
        "responses to the prompts of unseen users, at temperature 1",
        group="ablated_answers",
        model=model_of(build, stage),
        prompts=build["prompts/test.jsonl"],
        name=stage,
    )


def add_report(
    build: Build, stage: str, name: str, axis: str, arms: list[Arm], inputs: Mapping[str, Any]
) -> None:
    """The curves of some arms, and their further figures."""
    stages = list(dict.fromkeys(arm.stage for arm in arms))
    build.add(
        stage,
        "the curves, and a report of them",
        "ablated:report",
        ("results.json", "report.html"),
        {
            "prompts": build["prompts/test.jsonl"],
            "eval_prompts": build["prompts/rank_valid.jsonl"],
            "labelers": build["screening/labelers.json"],
            "answers": tuple(
                build[f"ablated_{stage}/responses.jsonl"] for stage in ("sft", *stages)
            ),
            **{f"tax_{stage}": build[f"tax_{stage}/tax.json"] for stage in stages},
            **inputs,
        },
        name=name,
        axis=axis,
        arms=[{"stage": a.stage, "series": a.series, "value": a.value} for a in arms],
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def needed(build: Build, name: str) -> set[str]:
    """The names of this stage and of those that it depends on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        stage = waiting.pop()
        if stage not in found:
            found.add(stage)
            waiting.extend(build.stages[stage].needs())
    return found
