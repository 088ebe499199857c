"""The study of labels per comparison: with a budget of labels, is it better to have more prompts
ranked once, or fewer prompts ranked three times?

    understudy demo --study labelers

once       one labeler per prompt
majority   a third of the prompts, each with one ranking by the mean rank of three labelers
share      the same prompts, all three rankings in the loss: the target is the share who prefer
weighted   like share, each labeler weighted by an estimate of their reliability (Dawid and Skene)
posterior  the target of each pair is the probability of its order, estimated with the reliabilities

Every reward model is trained for about as many steps and starts from the same model. It is
measured by its accuracy, and by best-of-n from SFT, which shows the worth of choosing by its score.
"""

from typing import Any

from understudy.loop.demo_build import Build
from understudy.loop.demo_plan import add_best_of_scores, add_reward
from understudy.loop.plan import Artifact

DESIGNS = {
    "once": "One label",
    "majority": "Mean rank of 3",
    "share": "All of 3",
    "weighted": "All, weighted",
    "posterior": "Posterior of 3",
}
LABELS = 3
"""Labels per prompt in all designs but the first."""
PAIRS = 8
"""Rows of the design "posterior", two for each pair of responses, per ranking of the others."""


def add_labelers_study(build: Build, stage: str) -> None:
    """A reward model per design, and the report."""
    inputs: dict[str, Any] = {}
    for design in DESIGNS:
        add_design(build, design)
        inputs[f"accuracy_{design}"] = build[f"labeled-{design}-check/accuracy.json"]
        inputs[f"best_of_{design}"] = build[f"labeled-{design}-best/best_of.json"]
    build.add(
        stage,
        "the designs side by side, and a report of them",
        "studied:labelers",
        ("results.json", "report.html"),
        inputs,
        designs=DESIGNS,
        best_of=build.recipe.evaluate.best_of,
    )


def add_design(build: Build, design: str) -> None:
    """Rankings, a reward model, and its measurements."""
    name, recipe = f"labeled-{design}", build.recipe
    build.add(
        f"{name}-rankings",
        "labelers rank by this design",
        "studied:rank",
        ("rankings.jsonl", "weights.json"),
        {
            "labelers": build["screening/labelers.json"],
            "prompts": build["prompts/rank.jsonl"],
            "responses": sampled(build),
        },
        group="rankings",
        design=design,
        labels=LABELS,
    )
    inputs = {"valid_data": build["rankings/valid.jsonl"]}
    if design in ("weighted", "posterior"):
        inputs["weights"] = build[f"{name}-rankings/weights.json"]
    changes: dict[str, Any] = {}
    # For as many steps as the others: a mean ranking stands for LABELS rankings.
    if design == "majority":
        changes["epochs"] = LABELS * recipe.reward.get("epochs", 1)
    if design == "posterior":
        changes["batch_size"] = PAIRS * recipe.reward.get("batch_size", 64)
    add_reward(build, name, build[f"{name}-rankings/rankings.jsonl"], inputs, **changes)
    build.add(
        f"{name}-check",
        "how often it agrees with labelers and the truth",
        "studied:accuracy",
        ("accuracy.json",),
        {
            "reward_model": build[f"{name}/run/model"],
            "results": build[f"{name}/run/results.json"],
            "responses": sampled(build),
            "prompts": build["prompts/rank_valid.jsonl"],
        },
        group="reward_check",
    )
    add_best_of_scores(build, f"{name}-best", build[f"{name}/run/model"], stop_at_gate=False)


def sampled(build: Build) -> tuple[Artifact, ...]:
    """The responses that labelers rank."""
    shards = range(build.recipe.sample.num_shards)
    return tuple(build[f"sample-{shard}/responses.jsonl"] for shard in shards)
