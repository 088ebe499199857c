"""The study of over-optimisation: what keeps RL from exploiting its reward model?

    understudy demo --study overoptimisation

PPO optimises a reward model of few labels, by half of the labelers, far: without a KL penalty and
at a high learning rate. Five runs add a remedy. In two, a judge ends training: a reward model
trained on the other half of the labelers, or these labelers themselves, one of whom compares each
held-out response with the first one. In three, the reward comes from an ensemble: its mean, its
lowest score, or its mean minus its variance (Coste et al. 2023).

How far can a reward model be optimised at all (Gao et al. 2022)? Reward models of several sizes,
each trained on four numbers of rankings, choose the best of n from the RL init. PPO optimises three
of them: the one of the runs above, one with the fewest rankings, and the smallest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.loop.ablation import add_test_responses
from understudy.loop.demo_build import Build, add_responses
from understudy.loop.demo_plan import add_reward, reward_start, sft_inputs

ARMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("No remedy", {}),
    "judge": ("A reward model as judge", {"judge_patience": 3}),
    "people": ("People as judge", {}),
    "mean": ("Mean of 3", {"ensemble_rule": "mean"}),
    "min": ("Lowest of 3", {"ensemble_rule": "min"}),
    "uncertainty": ("Mean - variance", {"ensemble_rule": "uncertainty"}),
}
"""Runs by name: display name, and settings that differ from the first run's."""
NUM_RANKINGS = 1000
"""Rankings that each reward model is trained on."""
EPOCHS = 4
"""Passes over them: one pass over so few teaches nothing (the loss stays at log 2)."""
FAR = {"beta": 0.0, "ptx_coef": 0.0, "eval_every": 2}
RATE, LENGTH = 2, 1.5
"""Learning rate and episodes, in multiples of the recipe's."""
REWARD_MODELS = {"a": 0, "a2": 1, "a3": 2, "judge": 0}
"""Reward models by name: offsets of their seeds. Those called a... share their rankings."""


SIZES = ("200k", "1m", "3m")
"""Sizes of reward models, beside the recipe's own."""
LARGEST_EPOCHS = 2
"""Passes over the rankings by the largest, whose steps cost three times as much."""
SHARES = (1, 2, 4, 8)
"""Divisors of the number of rankings. Batches are divided by the same, so that all reward models of
a size take equally many steps."""
SFT_EPOCHS = 2
"""Epochs of SFT of the other sizes, which reward models start from."""
NUM_SAMPLES = 64
"""Largest n of best-of-n."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward model whose optimisation is measured."""

    stage: str
    size: str
    rankings: int
    share: int


def add_overoptimisation_study(build: Build, stage: str) -> None:
    """Reward models, runs, and the report."""
    number = min(NUM_RANKINGS, build.recipe.labels.num_rankings // 3)
    fewer = [number // share for share in SHARES[1:]]
    build.add(
        "far-rankings",
        "few rankings by either half of the labelers",
        "studied_overoptimisation:halves",
        ("a.jsonl", "judge.jsonl", *(f"a-{n}.jsonl" for n in fewer)),
        {"rankings": build["rankings/rankings.jsonl"]},
        number=number,
        fewer=fewer,
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
        inputs[f"results_{name}"] = build[f"far-{name}/run/results.json"]
    add_test_responses(build, "sft")
    names = ("sft", *(f"far-{name}" for name in ARMS))
    rewards = list(rewards_of(Path(build.recipe.world.reward_size).name, number))
    build.add(
        stage,
        "the curves side by side, and a report of them",
        "studied_overoptimisation:report",
        ("results.json", "report.html"),
        {
            **inputs,
            **add_gains(build, rewards),
            "prompts": build["prompts/test.jsonl"],
            "eval_prompts": build["prompts/rank_valid.jsonl"],
            "labelers": build["screening/labelers.json"],
            "answers": tuple(build[f"ablated_{name}/responses.jsonl"] for name in names),
        },
        arms={name: label for name, (label, _) in ARMS.items()},
        rewards=[{k: getattr(one, k) for k in ("stage", "size", "rankings")} for one in rewards],
        labels_per_comparison=build.recipe.evaluate.labels_per_comparison,
    )


def rewards_of(own: str, number: int) -> Iterator[Reward]:
    """Every size with every number of rankings, including the runs' own reward model."""
    for size in dict.fromkeys((*SIZES, own)):
        for share in SHARES:
            same = size == own and share == 1
            stage = "far-reward-a" if same else f"far-reward-{size}-{number // share}"
            yield Reward(stage, size, number // share, share)


def add_gains(build: Build, rewards: list[Reward]) -> dict[str, Any]:
    """Add reward models, their scores of the RL init's responses, and further runs of PPO; returns
    the report's inputs."""
    recipe, own = build.recipe, Path(build.recipe.world.reward_size).name
    for size in SIZES:
        if size != own:
            base = {**sft_inputs(build), "model": build.base(size)}
            build.add(
                f"far-sft-{size}",
                "SFT of a model of another size, for reward models to start from",
                "train_sft:sft",
                ("run/model", "run/results.json"),
                base,
                group="far-sft",
                **{**recipe.sft_reward, "epochs": SFT_EPOCHS},
            )
    add_responses(
        build,
        "far-start",
        f"{NUM_SAMPLES} responses of the RL init to each prompt, to choose the best of n",
        model=build["rl_init/run/model"],
        prompts=build["prompts/rank_valid.jsonl"],
        name="rl_init",
        num_samples=NUM_SAMPLES,
        max_prompts=recipe.evaluate.num_best_of_prompts,
    )
    inputs: dict[str, Any] = {"start": build["far-start/responses.jsonl"]}
    for one in rewards:
        if one.stage not in build.stages:
            start = (
                reward_start(build) if one.size == own else build[f"far-sft-{one.size}/run/model"]
            )
            data = build[f"far-rankings/a{'' if one.share == 1 else f'-{one.rankings}'}.jsonl"]
            batch = max(1, recipe.reward["batch_size"] // one.share)
            epochs = LARGEST_EPOCHS if one.size == SIZES[-1] else EPOCHS
            changes = {"epochs": epochs, "batch_size": batch}
            add_reward(build, one.stage, data, {"model": start}, **changes)
        build.add(
            f"{one.stage}-scores",
            "the reward model scores them",
            "studied_overoptimisation:score",
            ("scores.json",),
            {
                "reward_model": build[f"{one.stage}/run/model"],
                "responses": build["far-start/responses.jsonl"],
            },
            group="best_of_scores",
        )
        inputs[f"scores_{one.stage}"] = build[f"{one.stage}-scores/scores.json"]
        if one.stage == "far-reward-a":
            inputs[f"ppo_{one.stage}"] = build["far-plain/run/samples.jsonl"]
        elif (one.size, one.share) in {(own, SHARES[-1]), (SIZES[0], 1)}:
            run = one.stage.replace("reward", "ppo")
            changed = {"episodes": recipe.ppo["episodes"]}
            add_far(build, run, changed, {"reward_model": build[f"{one.stage}/run/model"]})
            inputs[f"ppo_{one.stage}"] = build[f"{run}/run/samples.jsonl"]
    return inputs


def add_run(build: Build, name: str) -> None:
    """PPO, far optimised, with this arm's remedy."""
    _, changes = ARMS[name]
    inputs: dict[str, Any] = {"reward_model": build["far-reward-a/run/model"]}
    if name == "judge":
        inputs["judge"] = build["far-reward-judge/run/model"]
    if name == "people":
        inputs["judges"] = build["far-rankings/judge.jsonl"]
    if "ensemble_rule" in changes:
        inputs["ensemble"] = tuple(build[f"far-reward-{m}/run/model"] for m in ("a2", "a3"))
    add_far(build, f"far-{name}", changes, inputs)


def add_far(build: Build, name: str, changes: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """PPO without a KL penalty."""
    ppo = build.recipe.ppo
    settings = {**ppo, **FAR, "lr": RATE * ppo["lr"], "episodes": int(LENGTH * ppo["episodes"])}
    build.add(
        name,
        "PPO without a KL penalty",
        "train_ppo:ppo",
        ("run/model", "run/samples.jsonl", "run/results.json"),
        {
            "model": build["rl_init/run/model"],
            "prompts": build["prompts/ppo.jsonl"],
            "eval_prompts": build["prompts/rank_valid.jsonl"],
            **inputs,
        },
        group="far",
        **{**settings, **changes},
    )
