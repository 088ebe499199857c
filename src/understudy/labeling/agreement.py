"""How far labelers agree (s3.4: 72.6% among training, 77.3% among held-out labelers).

The unit is a *vote*: which of two responses to one prompt a labeler prefers, or neither. Two
labelers' votes on the same two responses are compared once. What a tie counts as is not published,
so it is the caller's to say:

* "drop"  (default) a pair of votes counts only if neither is a tie. Comparable with the accuracy
          of a reward model, which is measured on untied pairs as well.
* "half"  a tie against a preference is half an agreement, two ties are a whole one.
* "exact" a tie is an answer like the others: only the same answer agrees.

Intervals are bootstrapped over prompts, since all votes on one prompt are alike.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from understudy.records import Comparison, Ranking

Ties = Literal["drop", "half", "exact"]
Metric = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Vote:
    """`Vote("p1", "7", "9", 1, "l1")`: on p1, labeler l1 prefers "7" to "9" (0 tie, -1 other)."""

    prompt_id: str
    first: str
    """The response that sorts first, so that everybody's votes on a pair meet."""
    second: str
    value: int
    """1 first preferred, 0 tie, -1 second preferred."""
    labeler_id: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Share of vote pairs that agree, with its 95% interval."""

    rate: float
    low: float
    high: float
    n: int
    """Vote pairs that counted."""
    num_prompts: int
    """Prompts that they came from."""


def votes_of_rankings(rankings: Iterable[Ranking]) -> list[Vote]:
    """All K(K-1)/2 votes of each ranking; equal texts make no vote."""
    return [
        _vote(r.prompt_id, r.responses[i], r.responses[j], r.ranks[j] - r.ranks[i], r.labeler_id)
        for r in rankings
        for i, j in combinations(range(len(r.responses)), 2)
        if r.responses[i] != r.responses[j]
    ]


def votes_of_comparisons(comparisons: Iterable[Comparison]) -> list[Vote]:
    """The vote of each comparison; equal texts make no vote."""
    value = {"first": 1, "tie": 0, "second": -1}
    return [
        _vote(c.prompt_id, c.first, c.second, value[c.preferred], c.labeler_id)
        for c in comparisons
        if c.first != c.second
    ]


def agreement(
    votes: Iterable[Vote],
    *,
    ties: Ties = "drop",
    between: Callable[[str, str], bool] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement | None:
    """Agreement of all pairs of labelers who saw the same item; None when no pair of votes counts.

    `between(labeler, other)` keeps only some pairs of labelers, e.g. those of different groups.
    """
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for first, second in vote_pairs(votes):
        if between is None or between(first.labeler_id, second.labeler_id):
            agrees = agree(first.value, second.value, ties)
            if agrees is not None:
                totals[first.prompt_id][0] += agrees
                totals[first.prompt_id][1] += 1
    if not totals:
        return None
    agreed_P, counted_P = np.array(list(totals.values())).T
    low, high = _bootstrap_ratio(agreed_P, counted_P, seed, level)
    rate = float(agreed_P.sum() / counted_P.sum())
    return Agreement(rate, low, high, int(counted_P.sum()), len(totals))


def agreement_by_labeler(
    votes: Sequence[Vote], *, ties: Ties = "drop", seed: int = 0, level: float = 0.95
) -> dict[str, Agreement]:
    """Each labeler's agreement with all others; a labeler without shared items is left out."""
    found = {
        labeler: agreement(votes, ties=ties, seed=seed, level=level, between=_involves(labeler))
        for labeler in sorted({vote.labeler_id for vote in votes})
    }
    return {labeler: value for labeler, value in found.items() if value is not None}


def agreement_by_group(
    votes: Sequence[Vote], group_of: Mapping[str, str], *, ties: Ties = "drop", seed: int = 0
) -> dict[tuple[str, str], Agreement]:
    """Agreement within each group and between each two, by (group, group) in order of name."""
    groups = sorted(set(group_of.values()))
    found = {}
    for pair in [*((g, g) for g in groups), *combinations(groups, 2)]:
        value = agreement(votes, ties=ties, seed=seed, between=_groups_are(pair, group_of))
        if value is not None:
            found[pair] = value
    return found


def vote_pairs(votes: Iterable[Vote]) -> list[tuple[Vote, Vote]]:
    """Every two votes of different labelers on the same two responses."""
    items: dict[tuple[str, str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        items[vote.prompt_id, vote.first, vote.second].append(vote)
    return [
        (one, other)
        for found in items.values()
        for one, other in combinations(found, 2)
        if one.labeler_id != other.labeler_id
    ]


def agree(first: int, second: int, ties: Ties) -> float | None:
    """1, 0.5 or 0 for two votes, or None where they do not count (see the module)."""
    if ties == "drop" and 0 in (first, second):
        return None
    if ties == "half" and first != second and 0 in (first, second):
        return 0.5
    return float(first == second)


def accuracy_from_agreement(rate: float) -> float:
    """How often one labeler is right, if two equal and independent ones agree at `rate`.

    They agree when both are right or both wrong, a^2 + (1 - a)^2: a = (1 + sqrt(2 rate - 1)) / 2.
    Labels of 72.6% agreement are right about 84% of the time.
    """
    if not 0.5 <= rate <= 1:
        raise ValueError(f"agreement {rate} is below chance (0.5) or above 1")
    return float((1 + np.sqrt(2 * rate - 1)) / 2)


def krippendorff_alpha(
    values: Iterable[tuple[Hashable, float]], metric: Metric = "nominal"
) -> float | None:
    """Krippendorff's alpha of (unit, value) labels: 1 agreement, 0 chance, below 0 worse than that.

    "nominal" for flags, "ordinal" for Likert scores and ranks. None where it is undefined: no unit
    has two labels, or all labels are equal. Source: Krippendorff, Computing Krippendorff's
    alpha-reliability (2011).
    """
    units: dict[Hashable, list[float]] = defaultdict(list)
    for unit, value in values:
        units[unit].append(value)
    shared = [labels for labels in units.values() if len(labels) > 1]
    levels = sorted({value for labels in shared for value in labels})
    if len(levels) < 2:
        return None
    place = {value: index for index, value in enumerate(levels)}
    coincidence = np.zeros((len(levels), len(levels)))
    for labels in shared:
        for i, j in combinations(labels, 2):
            coincidence[place[i], place[j]] += 1 / (len(labels) - 1)
            coincidence[place[j], place[i]] += 1 / (len(labels) - 1)
    marginal = coincidence.sum(1)
    distance = _distance(np.array(levels), marginal, metric)
    observed = float((coincidence * distance).sum())
    expected = float((np.outer(marginal, marginal) * distance).sum()) / (marginal.sum() - 1)
    return float(1 - observed / expected)


def _distance(
    levels: NDArray[np.float64], marginal: NDArray[np.float64], metric: Metric
) -> NDArray[np.float64]:
    """Squared distance between any two values."""
    if metric == "nominal":
        return 1.0 - np.eye(len(levels))
    # Ordinal: how many labels lie between two values, half of the two themselves included.
    ruler = levels if metric == "interval" else np.cumsum(marginal) - marginal / 2
    squared: NDArray[np.float64] = (ruler[:, None] - ruler[None, :]) ** 2
    return squared


def _vote(prompt_id: str, first: str, second: str, difference: int, labeler: str) -> Vote:
    value = (difference > 0) - (difference < 0)
    if first > second:
        first, second, value = second, first, -value
    return Vote(prompt_id, first, second, value, labeler)


def _bootstrap_ratio(
    agreed_P: NDArray[np.float64],
    counted_P: NDArray[np.float64],
    seed: int,
    level: float,
    num_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile interval of sum(agreed) / sum(counted) over resampled prompts."""
    num = len(agreed_P)
    rng = np.random.default_rng(seed)
    weights_SP = rng.multinomial(num, np.full(num, 1 / num), size=num_resamples)
    ratios_S = (weights_SP @ agreed_P) / (weights_SP @ counted_P)
    low, high = np.quantile(ratios_S, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _involves(labeler: str) -> Callable[[str, str], bool]:
    return lambda one, other: labeler in (one, other)


def _groups_are(pair: tuple[str, str], group_of: Mapping[str, str]) -> Callable[[str, str], bool]:
    wanted = sorted(pair)
    return lambda one, other: sorted((group_of[one], group_of[other])) == wanted
