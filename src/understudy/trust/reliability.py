"""Each labeler's reliability, estimated from agreement; beyond the paper.

The model is Dawid and Skene's (1979) for votes with ties. Each pair of responses has a truth: one
is better, or they tie. A labeler reports a true preference with one probability, the opposite with
another, and a tie otherwise; a third is the probability of reporting a true tie. The two sides are
treated symmetrically, so a labeler has three free parameters. Estimated by EM, with every labeler
shrunk towards the team's average as by `PRIOR_VOTES` votes, so that a newcomer is neither trusted
nor distrusted. The model ignores that the votes of one ranking are correlated: the estimates hold,
but their certainty is overstated.

A labeler's *weight* is 2a - 1 over the team's mean, where a is the share of untied votes on true
preferences that are right; random votes have weight 0. `understudy reward --labeler-weights` reads
the file. Stiennon et al. (2020, App. C) found that leaving out labelers of low agreement did not
help their reward model, so weights are off by default.

Legend: N votes, U pairs of responses, L labelers, V = 3 votes (second, tie, first).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.trust.agreement import Vote

Floats = NDArray[np.float64]
PRIOR_VOTES = 10.0
"""Weight of the team's average in each labeler's estimate, in votes."""
LEAST_WEIGHT = 0.05
"""Smallest weight: the reward model refuses 0; leave out rankings instead."""
SECOND, TIE, FIRST = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """The estimates for one labeler."""

    right: float
    """Probability of reporting a true preference correctly."""
    wrong: float
    """Probability of reporting the opposite; the rest are ties."""
    tie: float
    """Probability of reporting a true tie as a tie."""
    num_shared: int
    """Votes on pairs that somebody else voted on or whose truth is known."""

    @property
    def accuracy(self) -> float:
        """Share of right ones among untied votes on true preferences."""
        decided = self.right + self.wrong
        return self.right / decided if decided > 0 else 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Consensus:
    """The labelers' estimates and each pair's probable truth."""

    trust: Mapping[str, Trust]
    """Labeler -> estimate, for those with shared votes."""
    truth: Mapping[tuple[str, str, str], tuple[float, float, float]]
    """(prompt, first, second) -> probabilities of second better, tie, first better."""

    def weights(self) -> dict[str, float]:
        """Labeler -> weight, mean 1 over those with shared votes."""
        if not self.trust:
            return {}
        raw = {name: max(2 * t.accuracy - 1, 0.0) for name, t in self.trust.items()}
        mean = sum(raw.values()) / len(raw) or 1.0
        return {name: max(weight / mean, LEAST_WEIGHT) for name, weight in raw.items()}


def consensus(
    votes: Iterable[Vote],
    known: Mapping[tuple[str, str, str], int] | None = None,
    iterations: int = 200,
    tolerance: float = 1e-5,
) -> Consensus:
    """Estimate labelers and truths together; `known` gives truths that a researcher decided.

    Leaves out pairs with one vote and no known truth, which carry no information.
    """
    known = known or {}
    units = _shared(votes, known)
    if not units:
        return Consensus(trust={}, truth={})
    labelers = sorted({vote.labeler_id for found in units.values() for vote in found})
    place = {name: index for index, name in enumerate(labelers)}
    rows = [
        (unit, place[vote.labeler_id], vote.value + 1)
        for unit, found in enumerate(units.values())
        for vote in found
    ]
    unit_N, labeler_N, vote_N = np.array(rows, np.int64).T
    fixed_UV = _fixed(units, known)
    truth_UV = _majority(unit_N, vote_N, len(units))
    table_LVV = np.zeros((len(labelers), 3, 3))
    for _ in range(iterations):
        truth_UV = np.where(np.isnan(fixed_UV), truth_UV, fixed_UV)
        counts_LVV = _counts(truth_UV, unit_N, labeler_N, vote_N, len(labelers))
        previous, table_LVV = table_LVV, _table(counts_LVV)
        truth_UV = _truth(table_LVV, _prior(truth_UV), unit_N, labeler_N, vote_N, len(units))
        if np.abs(table_LVV - previous).max() < tolerance:
            break
    truth_UV = np.where(np.isnan(fixed_UV), truth_UV, fixed_UV)
    shared_L = np.bincount(labeler_N, minlength=len(labelers))
    trust = {
        name: Trust(
            right=float(table[FIRST, FIRST]),
            wrong=float(table[FIRST, SECOND]),
            tie=float(table[TIE, TIE]),
            num_shared=int(num),
        )
        for name, table, num in zip(labelers, table_LVV, shared_L, strict=True)
    }
    truths = {
        unit: (float(second), float(tie), float(first))
        for unit, (second, tie, first) in zip(units, truth_UV, strict=True)
    }
    return Consensus(trust=trust, truth=truths)


def _shared(
    votes: Iterable[Vote], known: Mapping[tuple[str, str, str], int]
) -> dict[tuple[str, str, str], list[Vote]]:
    latest = {(vote.unit, vote.labeler_id): vote for vote in votes}
    found: dict[tuple[str, str, str], list[Vote]] = {}
    for (unit, _), vote in latest.items():
        found.setdefault(unit, []).append(vote)
    return {unit: group for unit, group in found.items() if len(group) > 1 or unit in known}


def _fixed(
    units: Iterable[tuple[str, str, str]], known: Mapping[tuple[str, str, str], int]
) -> Floats:
    """One-hot truths where they are known, nan elsewhere: (U, V)."""
    rows = [np.eye(3)[known[unit] + 1] if unit in known else np.full(3, np.nan) for unit in units]
    return np.array(rows)


def _majority(unit_N: NDArray[np.int64], vote_N: NDArray[np.int64], num: int) -> Floats:
    """Shares of the three votes, with which EM starts."""
    shares_UV = np.zeros((num, 3))
    np.add.at(shares_UV, (unit_N, vote_N), 1.0)
    shares: Floats = shares_UV / shares_UV.sum(1, keepdims=True)
    return shares


def _counts(
    truth_UV: Floats,
    unit_N: NDArray[np.int64],
    labeler_N: NDArray[np.int64],
    vote_N: NDArray[np.int64],
    num: int,
) -> Floats:
    """Expected (truth, vote) counts of each labeler, both sides alike: (L, V, V)."""
    cell_N = labeler_N * 3 + vote_N
    counts_VLV = [
        np.bincount(cell_N, weights=weight_U[unit_N], minlength=num * 3).reshape(num, 3)
        for weight_U in truth_UV.T
    ]
    counts_LVV = np.stack(counts_VLV, axis=1)
    mirrored: Floats = (counts_LVV + counts_LVV[:, ::-1, ::-1]) / 2
    return mirrored


def _table(counts_LVV: Floats) -> Floats:
    """P(vote given truth) of each labeler, shrunk towards the team's."""
    team_VV = counts_LVV.sum(0) + 1 / 3
    team_VV = team_VV / team_VV.sum(1, keepdims=True)
    drawn_LVV = counts_LVV + PRIOR_VOTES * team_VV
    table: Floats = drawn_LVV / drawn_LVV.sum(2, keepdims=True)
    return table


def _prior(truth_UV: Floats) -> Floats:
    """P(truth): the share of ties, and the rest halved between the sides."""
    tie = (truth_UV[:, TIE].sum() + 0.5) / (len(truth_UV) + 1)
    return np.array([(1 - tie) / 2, tie, (1 - tie) / 2], np.float64)


def _truth(
    table_LVV: Floats,
    prior_V: Floats,
    unit_N: NDArray[np.int64],
    labeler_N: NDArray[np.int64],
    vote_N: NDArray[np.int64],
    num: int,
) -> Floats:
    """P(truth given the votes) of each pair: (U, V)."""
    said_VN = np.log(table_LVV)[labeler_N, :, vote_N].T
    logs_VU = [np.bincount(unit_N, weights=said_N, minlength=num) for said_N in said_VN]
    logs_UV = np.stack(logs_VU, axis=1) + np.log(prior_V)
    logs_UV -= logs_UV.max(1, keepdims=True)
    shares_UV: Floats = np.exp(logs_UV)
    shares_UV /= shares_UV.sum(1, keepdims=True)
    return shares_UV
