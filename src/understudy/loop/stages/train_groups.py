"""Stages that train on several responses to each prompt: RLOO, GRPO, RAFT."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.training import run_fields
from understudy.raft.config import RAFTConfig
from understudy.raft.train import train_raft
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo


def rloo(call: StageCall) -> None:
    """A policy by REINFORCE leave-one-out, in run/model."""
    _train(call, "rloo", RLOOConfig, train_rloo)


def grpo(call: StageCall) -> None:
    """A policy by group-relative PPO, in run/model."""
    _train(call, "grpo", GRPOConfig, train_grpo)


def raft(call: StageCall) -> None:
    """A policy fine-tuned on the best of its own responses, in run/model."""
    _train(call, "raft", RAFTConfig, train_raft)


def _train(call: StageCall, name: str, kind: Any, train: Callable[[Any], Path]) -> None:
    config = kind(
        model=str(call.path("model")),
        reward_model=call.path("reward_model"),
        prompts=call.path("prompts"),
        eval_prompts=call.path("eval_prompts") if call.config.get("eval_every") else None,
        **run_fields(call),
    )
    call.follow("run/metrics.jsonl", config.num_iterations, f"{name}/score")
    train(config)
    (config.out / "samples.jsonl").touch()  # empty if nothing was measured during training
