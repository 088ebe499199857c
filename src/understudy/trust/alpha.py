"""Krippendorff's alpha with an interval: 1 agreement, 0 chance, below 0 worse than chance.

"nominal" for flags, "ordinal" for Likert scores and for votes (a tie lies between the two
preferences). Which of two responses comes first is arbitrary, so each vote is entered both ways
round: alpha does not depend on the order of the texts.

Alpha is reported as undefined, never as 1 or 0, if all answers are equal or no question has two.
Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011); the interval is
bootstrapped over prompts (see pairs.py) rather than over pairs of answers as in his.

Legend: N pairs, V values that occur, P prompts, S resamples.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np

from understudy.trust.pairs import (
    FEW_PROMPTS,
    Answer,
    Answers,
    Floats,
    Measure,
    Pairs,
    by_prompt,
    pairs_of,
    percentile_interval,
    resampled,
)

Metric = Literal["nominal", "ordinal", "interval"]
FEW_LEVELS = 16
NO_INTERVAL_ABOVE = 0.05
"""No interval is given if a larger share of resamples has no variation."""


def alpha(
    answers: Iterable[Answer] | Answers | Pairs,
    metric: Metric,
    *,
    both_ways: bool = False,
    seed: int = 0,
    level: float = 0.95,
) -> Measure:
    """Alpha with its interval; `both_ways` for votes (see the module)."""
    pairs = answers if isinstance(answers, Pairs) else pairs_of(answers)
    if not len(pairs):
        return Measure(undefined="no two labelers answered the same question")
    levels = _levels(pairs)
    if both_ways:
        levels = np.union1d(levels, -levels)
    found = pairs.counted()
    coincidences_PVV = _coincidences(pairs, levels, both_ways)
    value = _finite(_alpha(coincidences_PVV.sum(0)[None], levels, metric)[0])
    if value is None:
        return replace(found, undefined="all answers are equal")
    low, high, reason = _interval(coincidences_PVV, levels, metric, seed, level)
    return replace(found, value=value, low=low, high=high, undefined=reason)


def _interval(
    coincidences_PVV: Floats, levels: Floats, metric: Metric, seed: int, level: float
) -> tuple[float | None, float | None, str]:
    """(low, high, ""), or (None, None, why not)."""
    num, size = len(coincidences_PVV), len(levels)
    if num < FEW_PROMPTS:
        return None, None, f"an interval needs {FEW_PROMPTS} prompts, there are {num}"
    sums_SC = resampled(coincidences_PVV.reshape(num, size * size), seed)
    alphas_S = _alpha(sums_SC.reshape(-1, size, size), levels, metric)
    known_S = alphas_S[np.isfinite(alphas_S)]
    if len(known_S) < (1 - NO_INTERVAL_ABOVE) * len(alphas_S):
        return None, None, "answers vary too little for an interval"
    if np.ptp(known_S) == 0:
        return None, None, "no labelers disagree, so the data give no interval"
    return *percentile_interval(known_S, num, level), ""


def _levels(pairs: Pairs) -> Floats:
    """The values that occur, sorted. There are few, so removing one at a time beats sorting all."""
    found: list[float] = []
    rest_M = np.append(pairs.first_N, pairs.second_N)
    while len(rest_M) and len(found) < FEW_LEVELS:
        found.append(rest_M[0])
        rest_M = rest_M[rest_M != rest_M[0]]
    return np.union1d(found, rest_M)


def _coincidences(pairs: Pairs, levels: Floats, both_ways: bool) -> Floats:
    """Each prompt's coincidence matrix, (P, V, V)."""
    size = len(levels)
    number, prompt_N = by_prompt(pairs)
    first_N = np.searchsorted(levels, pairs.first_N)
    second_N = np.searchsorted(levels, pairs.second_N)
    cell_N = (prompt_N * size + first_N) * size + second_N
    cells = np.bincount(cell_N, weights=pairs.weight_N, minlength=number * size * size)
    found_PVV = np.asarray(cells, np.float64).reshape(number, size, size)
    found_PVV = found_PVV + found_PVV.transpose(0, 2, 1)
    return found_PVV + found_PVV[:, ::-1, ::-1] if both_ways else found_PVV


def _alpha(coincidences_SVV: Floats, levels: Floats, metric: Metric) -> Floats:
    """Alpha of each coincidence matrix; nan where all answers are equal."""
    marginal_SV = coincidences_SVV.sum(2)
    distance_SVV = _distance(levels, marginal_SV, metric)
    observed_S = (coincidences_SVV * distance_SVV).sum((1, 2))
    products_SVV = marginal_SV[:, :, None] * marginal_SV[:, None, :]
    expected_S = (products_SVV * distance_SVV).sum((1, 2)) / (marginal_SV.sum(1) - 1)
    varied_S = expected_S > 0
    ratio_S = observed_S / np.where(varied_S, expected_S, 1.0)
    return np.where(varied_S, 1 - ratio_S, np.nan)


def _distance(levels: Floats, marginal_SV: Floats, metric: Metric) -> Floats:
    """Squared distance between every two values, (S, V, V)."""
    if metric == "nominal":
        return np.broadcast_to(1.0 - np.eye(len(levels)), (len(marginal_SV), *2 * levels.shape))
    # Ordinal: the number of labels between two values, half of each end included.
    between_SV = np.cumsum(marginal_SV, axis=1) - marginal_SV / 2
    ruler_SV = np.broadcast_to(levels, marginal_SV.shape) if metric == "interval" else between_SV
    squared: Floats = (ruler_SV[:, :, None] - ruler_SV[:, None, :]) ** 2
    return squared


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
