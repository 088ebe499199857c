"""Agreement between scores and labelers, with an interval, and calibration of the scores.

Plain numpy, usable for any scored pairs. Scores come as two arrays: of the preferred and of the
other response of each pair. Equal scores count as half right.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from understudy.numerics.intervals import normal_quantile, wilson


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of pairs with its 95% interval, clustered by prompt."""

    rate: float
    """Share of pairs in which the preferred response scores higher."""
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end."""
    n: int
    """Number of pairs."""
    num_prompts: int
    """Number of prompts, the independent units behind the interval."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def pairwise_accuracy(
    better: ArrayLike, worse: ArrayLike, clusters: Sequence[Hashable] | None = None
) -> Accuracy:
    """Accuracy of scored pairs; pairs of one cluster (prompt) are not assumed independent.

    The rate is the mean over pairs. The interval is Wilson's with the effective number of
    observations (from the variance over clusters), so 36 pairs of one prompt count for fewer.

    >>> pairwise_accuracy([2.0, 1.0, 0.0, 5.0], [1.0, 1.0, 1.0, 2.0]).rate
    0.625
    """
    right = _right(np.asarray(better, float), np.asarray(worse, float))
    variance, count = _variance_of_mean(right, clusters)
    rate = float(right.mean())
    worth = rate * (1 - rate) / variance if variance > 0 else count
    low, high = wilson(rate, min(worth, len(right)))
    return Accuracy(rate, low, high, len(right), count)


def _variance_of_mean(values: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[float, int]:
    """(variance of the mean over pairs, number of clusters), with clusters assumed independent."""
    if len(values) == 0:
        raise ValueError("there are no pairs to measure accuracy on; all of them may be ties")
    keys = list(range(len(values))) if clusters is None else list(clusters)
    if len(keys) != len(values):
        raise ValueError(f"{len(values)} pairs but {len(keys)} cluster names; give one per pair")
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    of_pair = np.array([number[key] for key in keys])
    residual = np.bincount(of_pair, weights=values - values.mean(), minlength=len(number))
    count = len(number)
    return (residual**2).sum() / len(values) ** 2 * (count / max(count - 1, 1)), count


def length_accuracy(
    better_lengths: ArrayLike,
    worse_lengths: ArrayLike,
    clusters: Sequence[Hashable] | None,
    longer_wins: bool,
) -> Accuracy:
    """Accuracy of the length rule."""
    sign = 1.0 if longer_wins else -1.0
    better, worse = np.asarray(better_lengths, float), np.asarray(worse_lengths, float)
    return pairwise_accuracy(sign * better, sign * worse, clusters)


def above_length(
    better: ArrayLike,
    worse: ArrayLike,
    better_lengths: ArrayLike,
    worse_lengths: ArrayLike,
    clusters: Sequence[Hashable] | None,
    longer_wins: bool,
) -> Accuracy:
    """How much more often the scores are right than the length rule, on the same pairs.

    A difference of rates, from -1 to 1, whose 95% interval is paired, so whatever makes a pair hard
    for both cancels. "Above the rule" means that `low` is above 0.
    """
    sign = 1.0 if longer_wins else -1.0
    gain = _right(np.asarray(better, float), np.asarray(worse, float)) - _right(
        sign * np.asarray(better_lengths, float), sign * np.asarray(worse_lengths, float)
    )
    variance, count = _variance_of_mean(gain, clusters)
    mean, half = float(gain.mean()), normal_quantile() * float(np.sqrt(variance))
    return Accuracy(mean, max(-1.0, mean - half), min(1.0, mean + half), len(gain), count)


def score_per_token(
    better: ArrayLike, worse: ArrayLike, better_lengths: ArrayLike, worse_lengths: ArrayLike
) -> float | None:
    """How much higher a pair's longer response scores for each token that it is longer.

    Least squares through the origin over pairs of responses to one prompt, so that what a prompt
    does to all of its scores and lengths cancels; None if no pair differs in length.
    """
    gains = np.asarray(better, float) - np.asarray(worse, float)
    extra = np.asarray(better_lengths, float) - np.asarray(worse_lengths, float)
    weight = float((extra**2).sum())
    return float((gains * extra).sum()) / weight if weight > 0 else None


def longer_wins(better_lengths: ArrayLike, worse_lengths: ArrayLike) -> bool:
    """Whether "longer wins" is right more often than "shorter wins", on training pairs."""
    better, worse = np.asarray(better_lengths, float), np.asarray(worse_lengths, float)
    return bool((better > worse).sum() >= (better < worse).sum())


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted confidence beside the share that is right, in bins of confidence from 0.5 to 1."""

    ece: float
    """Expected calibration error: mean |confidence - accuracy| over bins, weighted by pairs."""
    confidence: list[float]
    """Mean confidence of each non-empty bin."""
    accuracy: list[float]
    """Share of right pairs in each bin."""
    count: list[int]
    """Pairs in each bin."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def calibration(better: ArrayLike, worse: ArrayLike, num_bins: int = 10) -> Calibration:
    """Reliability of sigmoid(|difference|), the probability that the loss gives the higher
    score."""
    better, worse = np.asarray(better, float), np.asarray(worse, float)
    right = _right(better, worse)
    confidence = 1 / (1 + np.exp(-np.abs(better - worse)))
    index = np.minimum(((confidence - 0.5) * 2 * num_bins).astype(int), num_bins - 1)
    count = np.bincount(index, minlength=num_bins)
    filled = count > 0
    mean_confidence = (
        np.bincount(index, weights=confidence, minlength=num_bins)[filled] / count[filled]
    )
    mean_right = np.bincount(index, weights=right, minlength=num_bins)[filled] / count[filled]
    weight = count[filled] / max(count.sum(), 1)
    return Calibration(
        ece=float((weight * np.abs(mean_confidence - mean_right)).sum()),
        confidence=mean_confidence.tolist(),
        accuracy=mean_right.tolist(),
        count=count[filled].tolist(),
    )


def _right(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    if better.shape != worse.shape:
        raise ValueError(f"{better.shape} preferred scores but {worse.shape} others")
    return (better > worse) + 0.5 * (better == worse)
