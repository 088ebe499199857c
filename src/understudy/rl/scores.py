"""The score of a response. Shapes: B episodes, R response tokens, M reward models."""

from pathlib import Path

import torch
from torch import Tensor

from understudy.rl.episodes import Episodes
from understudy.rl.settings import RolloutSettings


def scores_of(config: RolloutSettings, episodes: Episodes) -> Tensor:
    """(B,): the reward model's scores plus `length_coef` per response token; `missing_eos_score`
    replaces that of a response that did not end."""
    return final_scores(
        episodes.raw_scores_B + config.length_coef * episodes.mask_BR.sum(dim=1),
        episodes.finished_B,
        config.missing_eos_score,
    )


def final_scores(scores_B: Tensor, finished_B: Tensor, missing_eos_score: float | None) -> Tensor:
    """Scores, with `missing_eos_score` for each response that did not end.

    The score is fixed, as in LHP and NP, so that leaving a response unfinished never pays.
    """
    if missing_eos_score is None:
        return scores_B
    return torch.where(finished_B, scores_B, missing_eos_score)


def combined(scores_MB: Tensor, rule: str = "mean", penalty: float = 0.0) -> Tensor:
    """One score per response from those of several reward models (Coste et al. 2023): their mean,
    their minimum, or their mean minus `penalty` times their variance."""
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
