"""Stages that train: the trainers of `sft`, `reward` and `ppo`, with a recipe's settings.

Config of each: the fields of the trainer's own config that are no paths. A stage that was
interrupted goes on from the trainer's newest checkpoint.
"""

import math
from pathlib import Path

from understudy.loop.stage_call import StageCall
from understudy.records import Demonstration, Ranking, read_records


def sft(call: StageCall) -> None:
    """Demonstrations (and pretraining text) to a policy in run/model."""
    from understudy.sft.train import SFTConfig, train_sft

    config = SFTConfig(
        model=str(call.path("model")),
        data=call.path("data"),
        valid_data=_optional(call, "valid_data"),
        pretrain_data=_optional(call, "text"),
        **_run_fields(call),
    )
    rows = len(read_records(config.data, Demonstration))
    total = config.epochs * math.ceil(rows / config.batch_size)
    call.follow("run/metrics.jsonl", total, "sft/loss")
    train_sft(config)


def reward(call: StageCall) -> None:
    """Rankings to a reward model in run/model."""
    from understudy.reward.train import RewardConfig, train_reward

    config = RewardConfig(
        model=str(call.path("model")),
        data=call.path("data"),
        valid_data=_optional(call, "valid_data"),
        demonstrations=_optional(call, "demonstrations"),
        **_run_fields(call),
    )
    rows = len(read_records(config.data, Ranking))
    total = config.epochs * math.ceil(rows / config.batch_size)
    call.follow("run/metrics.jsonl", total, "reward/accuracy")
    train_reward(config)


def ppo(call: StageCall) -> None:
    """A policy optimised against the reward model, in run/model; with text, PPO-ptx."""
    from understudy.ppo.config import PPOConfig
    from understudy.ppo.train import train_ppo

    config = PPOConfig(
        model=str(call.path("model")),
        reward_model=call.path("reward_model"),
        prompts=call.path("prompts"),
        pretrain_data=_optional(call, "text"),
        eval_prompts=call.path("eval_prompts") if call.config.get("eval_every") else None,
        **_run_fields(call),
    )
    call.follow("run/metrics.jsonl", config.num_iterations, "ppo/score")
    train_ppo(config)
    (config.out / "samples.jsonl").touch()  # empty when nothing was measured on the way


def _optional(call: StageCall, name: str) -> Path | None:
    paths = call.paths(name)
    return paths[0] if paths else None


def _run_fields(call: StageCall) -> dict:
    """The recipe's settings, and where the run goes: on with it when it was interrupted."""
    out = call.out / "run"
    return {**call.config, "out": out, "resume": (out / "run.json").exists()}
