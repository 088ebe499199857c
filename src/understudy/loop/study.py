"""Studies of what the paper left open, in the tiny world, on a demo's artifacts.

    understudy demo --study methods

methods: was PPO needed? PPO, RLOO, GRPO, RAFT, DPO and KTO start from the same RL init, each at
three learning rates, and are judged like the demo's models. Methods that sample use the same
prompts, reward model and number of episodes; DPO and KTO use the rankings that the reward model was
trained on. The study is built like an ablation, with methods in place of the kinds of RL.

Each of the other studies has its own file, study_NAME.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from understudy.loop.ablation import (
    Arm,
    add_measurements,
    add_report,
    add_test_responses,
    needed,
)
from understudy.loop.demo_build import Build
from understudy.loop.demo_evaluation import model_of
from understudy.loop.demo_plan import add_rl, build_until_rl
from understudy.loop.plan import Plan
from understudy.loop.recipe import Recipe
from understudy.loop.study_generalisation import add_generalisation_study
from understudy.loop.study_groups import add_groups_study
from understudy.loop.study_hallucination import add_hallucination_study
from understudy.loop.study_harm import add_harm_study
from understudy.loop.study_labelers import add_labelers_study
from understudy.loop.study_overoptimisation import add_overoptimisation_study

Study = Literal[
    "methods",
    "labelers",
    "groups",
    "overoptimisation",
    "generalisation",
    "hallucination",
    "harm",
]
ADD = {
    "labelers": add_labelers_study,
    "groups": add_groups_study,
    "overoptimisation": add_overoptimisation_study,
    "generalisation": add_generalisation_study,
    "hallucination": add_hallucination_study,
    "harm": add_harm_study,
}

FACTORS = (0.5, 1.0, 2.0)
"""Multiples of the recipe's learning rate of PPO, for every method."""
SAMPLERS: dict[str, dict[str, Any]] = {
    "rloo": {"num_minibatches": 8},
    "grpo": {"num_minibatches": 8},
    "raft": {"num_minibatches": 2},
}
"""Settings that differ from PPO's in the recipe. RAFT learns from a quarter of its episodes, so its
minibatches have as many as the others'."""
OFFLINE: dict[str, dict[str, Any]] = {"dpo": {}, "kto": {"batch_size": 128}}
"""Settings of the methods that learn from rankings that differ from the defaults. 128 is about the
number of responses if DPO's batch of 64 rankings had two each."""
RESPONSES_PER_PROMPT = 4
SHARED = ("episodes", "batch_size", "warmup_iterations", "max_response_tokens", "eval_every")
"""Settings that the methods which sample share with PPO."""
AXIS = "learning rate of the policy"


def study_plan(
    recipe: Recipe, seed: int, name: Study, label: int = 0, policies: Path | None = None
) -> Plan:
    """The demo's stages until RL, then a study with its own report; `policies` is for the study
    of harm."""
    build, stage = build_until_rl(recipe, seed, label), f"study_{name}"
    if policies is not None:
        add_harm_study(build, stage, policies)
    else:
        ADD.get(name, add_methods_study)(build, stage)
    wanted = needed(build, stage)
    return Plan(tuple(one for one in build.stages.values() if one.name in wanted))


def add_methods_study(build: Build, name: str) -> None:
    """A run per method and learning rate, and the report."""
    recipe = build.recipe
    arms = list(arms_of(recipe))
    for arm in arms:
        add_method(build, arm)
        add_measurements(build, arm.stage)
        add_divergence(build, arm.stage)
    add_test_responses(build, "sft")
    extra: dict[str, Any] = {"best_of": build["gate/best_of.json"]}
    for arm in arms:
        extra[f"kl_{arm.stage}"] = build[f"kl_{arm.stage}/kl.json"]
        extra[f"model_{arm.stage}"] = model_of(build, arm.stage)
        if arm.series not in OFFLINE:
            extra[f"samples_{arm.stage}"] = build[f"{arm.stage}/run/samples.jsonl"]
    add_report(build, name, "methods", AXIS, arms, extra)


def arms_of(recipe: Recipe) -> Iterator[Arm]:
    """Each method at each learning rate; PPO's arms are those of the ablation `lr`."""
    for method in ("ppo", *SAMPLERS, *OFFLINE):
        for factor in FACTORS:
            lr = recipe.ppo["lr"] * factor
            stage = f"methods-{method}-{factor:g}"
            if method == "ppo":
                stage = "ppo" if factor == 1 else f"lr-ppo-{factor:g}"
            yield Arm(stage=stage, series=method, value=f"{lr:g}", rl={"lr": lr})


def add_method(build: Build, arm: Arm) -> None:
    """The training run of an arm, from the RL init."""
    ppo, start = build.recipe.ppo, build["rl_init/run/model"]
    if arm.series == "ppo":
        if arm.stage not in build.stages:
            add_rl(build, arm.stage, "ppo", "rl_init", arm.rl)
    elif arm.series in OFFLINE:
        build.add(
            arm.stage,
            "the policy learns from the rankings themselves",
            f"train_offline:{arm.series}",
            ("run/model",),
            {
                "model": start,
                "rankings": build["rankings/rankings.jsonl"],
                "valid": build["rankings/valid.jsonl"],
            },
            group=arm.series,
            max_response_tokens=ppo["max_response_tokens"],
            **OFFLINE[arm.series],
            **arm.rl,
        )
    else:
        beta = {} if arm.series == "raft" else {"beta": ppo["beta"]}
        once = {"inner_epochs": 1, "responses_per_prompt": RESPONSES_PER_PROMPT}
        build.add(
            arm.stage,
            "the policy learns from several responses to each prompt",
            f"train_groups:{arm.series}",
            ("run/model", "run/samples.jsonl"),
            {
                "model": start,
                "reward_model": build["reward/run/model"],
                "prompts": build["prompts/ppo.jsonl"],
                "eval_prompts": build["prompts/rank_valid.jsonl"],
                "gate": build["gate/best_of.json"],
            },
            group="groups",
            **{key: ppo[key] for key in SHARED if key in ppo},
            **(once | beta | SAMPLERS[arm.series] | dict(arm.rl)),
        )


def add_divergence(build: Build, stage: str) -> None:
    """The KL of a model from the RL init, on its own responses."""
    build.add(
        f"kl_{stage}",
        "how far the policy has moved",
        "measure:divergence",
        ("kl.json",),
        {
            "model": model_of(build, stage),
            "reference": build["rl_init/run/model"],
            "responses": build[f"ablated_{stage}/responses.jsonl"],
            "prompts": build["prompts/test.jsonl"],
        },
        group="kl",
    )
