"""Metrics of an iteration that every trainer logs, whatever its loss."""

import time
from collections.abc import Mapping
from typing import Any, TypeVar

from understudy.rl.episodes import Episodes
from understudy.rl.prompts import Prompts
from understudy.rl.settings import RolloutSettings
from understudy.rl.stopping import Watch
from understudy.training.steps import Metrics, Steps

V = TypeVar("V")


def shape(episodes: Episodes) -> Metrics:
    """Metrics of the responses' form, and their scores as the reward model gave them."""
    error = episodes.engine_error
    return ({} if error is None else {"engine_error": error}) | {
        "raw_score": episodes.raw_scores_B.mean(),
        "response_tokens": episodes.mask_BR.sum(dim=1).float().mean(),
        "eos_rate": episodes.finished_B.float().mean(),
    }


def timings(config: RolloutSettings, started: float, sampled: float, scored: float) -> Metrics:
    """Wall times of an iteration that ends now, from readings of `time.monotonic`."""
    now = time.monotonic()
    return {
        "seconds_rollout": sampled - started,
        "seconds_score": scored - sampled,
        "seconds_update": now - scored,
        "episodes_per_second": config.batch_size / (now - started),
    }


def named(stage: str, metrics: Mapping[str, V]) -> dict[str, V]:
    """Metrics under the names that are logged."""
    return {f"{stage}/{name}": value for name, value in metrics.items()}


def results(
    config: RolloutSettings, steps: Steps, prompts: Prompts, watch: Watch | None
) -> dict[str, Any]:
    """For results.json: counts, and why the run ended."""
    return {
        "stopped_by": "judge" if watch and watch.is_over else "episodes",
        **(watch.results() if watch else {}),
        "iterations": steps.step,
        "episodes": steps.step * config.batch_size,
        "num_prompts": len(prompts.ids),
        "num_dropped_long_prompts": prompts.num_dropped,
    }
