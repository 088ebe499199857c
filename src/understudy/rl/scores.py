"""The score of a response. Shapes: B episodes, M reward models."""

from pathlib import Path

import torch
from torch import Tensor


def final_scores(
    raw_scores_B: Tensor, finished_B: Tensor, missing_eos_score: float | None
) -> Tensor:
    """Scores with a fixed one in place of the reward model's where a response did not end.

    As in LHP and NP, a fixed score, so that leaving a response unfinished never pays.
    """
    if missing_eos_score is None:
        return raw_scores_B
    return torch.where(finished_B, raw_scores_B, missing_eos_score)


def combined(scores_MB: Tensor, rule: str = "mean", penalty: float = 0.0) -> Tensor:
    """The score of each response from those of several reward models (Coste et al. 2023): their
    mean, the lowest, or the mean minus `penalty` times their variance."""
    if rule == "min":
        return scores_MB.amin(dim=0)
    mean_B = scores_MB.mean(dim=0)
    if rule == "mean":
        return mean_B
    return mean_B - penalty * scores_MB.var(dim=0, correction=0)


def check_finite(scores: Tensor, reward_model: Path) -> None:
    """FloatingPointError for a score or reward, of any shape, that is not finite."""
    if not bool(torch.isfinite(scores).all()):
        raise FloatingPointError(
            "a reward is not finite, so nothing can be learned from it; check the reward model "
            f"{reward_model}"
        )
