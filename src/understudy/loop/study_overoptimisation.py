"""The study of over-optimisation: what keeps RL from exploiting its reward model?

    understudy demo --study overoptimisation

A reward model of few labels, by half of the labelers, is optimised far: no KL penalty, a high
learning rate. Beside that run stand the same one ended by a judge, a reward model of the other half
of the labelers, and three whose reward is that of an ensemble: the mean, the lowest, and the mean
minus the variance (Coste et al. 2023).
"""

from collections.abc import Mapping
from typing import Any

from understudy.loop.ablation import add_test_responses
from understudy.loop.demo_build import Build
from understudy.loop.demo_plan import add_reward

ARMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("No remedy", {}),
    "judge": ("A judge", {"judge_patience": 3}),
    "mean": ("Mean of 3", {"ensemble_rule": "mean"}),
    "min": ("Lowest of 3", {"ensemble_rule": "min"}),
    "uncertainty": ("Mean - variance", {"ensemble_rule": "uncertainty"}),
}
"""Runs by name: display name, and what differs from the first one's settings."""
NUM_RANKINGS = 1000
"""Rankings that each reward model is trained on."""
EPOCHS = 4
"""Passes over them: in one so few teach nothing (its loss stays at log 2)."""
FAR = {"beta": 0.0, "ptx_coef": 0.0, "eval_every": 2}
RATE, LENGTH = 2, 2
"""Learning rate and episodes, in multiples of the recipe's."""
REWARD_MODELS = {"a": 0, "a2": 1, "a3": 2, "judge": 0}
"""Reward models by name: offsets of their seeds. Those called a... share their rankings."""


def add_overoptimisation_study(build: Build, stage: str) -> None:
    """Reward models, runs, and the report."""
    build.add(
        "far-rankings",
        "few rankings by either half of the labelers",
        "studied:halves",
        ("a.jsonl", "judge.jsonl"),
        {"rankings": build["rankings/rankings.jsonl"]},
        number=min(NUM_RANKINGS, build.recipe.labels.num_rankings // 3),
    )
    for name, offset in REWARD_MODELS.items():
        data = build[f"far-rankings/{'judge' if name == 'judge' else 'a'}.jsonl"]
        own: dict[str, Any] = {"epochs": EPOCHS, "seed": build.seed + 1000 * offset}
        add_reward(build, f"far-reward-{name}", data, **own)
    inputs: dict[str, Any] = {}
    for name in ARMS:
        add_run(build, name)
        add_test_responses(build, f"far-{name}")
        inputs[f"samples_{name}"] = build[f"far-{name}/run/samples.jsonl"]
    add_test_responses(build, "sft")
    names = ("sft", *(f"far-{name}" for name in ARMS))
    build.add(
        stage,
        "the curves side by side, and a report of them",
        "studied:overoptimisation",
        ("results.json", "report.html"),
        {
            **inputs,
            "prompts": build["prompts/test.jsonl"],
            "eval_prompts": build["prompts/rank_valid.jsonl"],
            "labelers": build["screening/labelers.json"],
            "answers": tuple(build[f"ablated_{name}/responses.jsonl"] for name in names),
        },
        arms={name: label for name, (label, _) in ARMS.items()},
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def add_run(build: Build, name: str) -> None:
    """PPO, far, with this arm's remedy."""
    ppo = build.recipe.ppo
    settings = {**ppo, **FAR, "lr": RATE * ppo["lr"], "episodes": LENGTH * ppo["episodes"]}
    _, changes = ARMS[name]
    inputs = {
        "model": build["rl_init/run/model"],
        "reward_model": build["far-reward-a/run/model"],
        "prompts": build["prompts/ppo.jsonl"],
        "eval_prompts": build["prompts/rank_valid.jsonl"],
    }
    if name == "judge":
        inputs["judge"] = build["far-reward-judge/run/model"]
    extra: dict[str, Any] = {}
    if "ensemble_rule" in changes:
        extra["ensemble"] = tuple(build[f"far-reward-{m}/run/model"] for m in ("a2", "a3"))
    build.add(
        f"far-{name}",
        "PPO without a KL penalty",
        "train_ppo:ppo",
        ("run/model", "run/samples.jsonl", "run/results.json"),
        {**inputs, **extra},
        group="far",
        **{**settings, **changes},
    )
