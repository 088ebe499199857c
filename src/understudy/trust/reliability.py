"""Each labeler's reliability, estimated from agreement; beyond the paper.

The model is Dawid and Skene's (1979) for votes with ties. Each pair of responses has a truth: one
is better, or they tie. A labeler reports a true preference with one probability, the opposite with
another, and a tie otherwise; a third is the probability of reporting a true tie. The two sides are
treated symmetrically, so a labeler has three free parameters. EM estimates them, with every labeler
shrunk towards the team's average as by `PRIOR_VOTES` votes, so that a newcomer is neither trusted
nor distrusted. The model ignores that the votes of one ranking are correlated: the estimates hold,
but their certainty is overstated.

A labeler's *weight* is 2a - 1 over the team's mean, where a is the share of untied votes on true
preferences that are right; random votes have weight 0. `understudy reward --labeler-weights` reads
the file. Stiennon et al. (2020, App. C) found that leaving out labelers of low agreement did not
help their reward model, so weights are off by default.

Legend: N votes, sorted by pair, U pairs of responses (the first vote on each is at `first_U`),
L labelers, V = 3 votes (second, tie, first), C cells: a labeler's number times 3, plus a vote.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.trust.agreement import Vote
from understudy.trust.pairs import Answers, answers_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
        """Share of untied votes on true preferences that are right."""
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
    votes: Iterable[Vote] | Answers,
    known: Mapping[tuple[str, str, str], int] | None = None,
    iterations: int = 200,
    tolerance: float = 1e-5,
) -> Consensus:
    """Estimate labelers and truths together; `known` gives truths that a researcher decided.

    Leaves out pairs with one vote and no known truth, which carry no information.
    """
    given = votes if isinstance(votes, Answers) else answers_of(votes)
    fixed_UV = _fixed(given.units, known or {})
    voted_U = np.bincount(given.unit_A, minlength=len(given.units))
    used_U = np.flatnonzero((voted_U > 1) | ~np.isnan(fixed_UV[:, 0]))
    if not len(used_U):
        return Consensus(trust={}, truth={})
    shared = given.where(np.isin(given.unit_A, used_U))
    shared = shared.where(np.argsort(shared.unit_A, kind="stable"))
    units, fixed_VU = [given.units[int(unit)] for unit in used_U], fixed_UV[used_U].T
    used_L, labeler_N = np.unique(shared.labeler_A, return_inverse=True)
    labelers = [given.labelers[place] for place in used_L]
    unit_N = np.searchsorted(used_U, shared.unit_A)
    first_U = np.searchsorted(unit_N, np.arange(len(units)))
    vote_N = shared.value_A.astype(np.int64) + 1
    cell_N = labeler_N * 3 + vote_N
    truth_VU = _majority(vote_N, first_U)
    table_LVV = np.zeros((len(labelers), 3, 3))
    for _ in range(iterations):
        truth_VU = np.where(np.isnan(fixed_VU), truth_VU, fixed_VU)
        counts_LVV = _counts(truth_VU, unit_N, cell_N, len(labelers))
        previous, table_LVV = table_LVV, _table(counts_LVV)
        truth_VU = _truth(table_LVV, _prior(truth_VU), cell_N, first_U)
        if np.abs(table_LVV - previous).max() < tolerance:
            break
    truth_VU = np.where(np.isnan(fixed_VU), truth_VU, fixed_VU)
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
    truths = dict(zip(units, map(tuple, truth_VU.T.tolist()), strict=True))
    return Consensus(trust=trust, truth=truths)


def _fixed(
    units: Sequence[tuple[str, str, str]], known: Mapping[tuple[str, str, str], int]
) -> Floats:
    """Known truths, one-hot, and nan for the others: (U, V)."""
    found = np.full((len(units), 3), np.nan)
    for place, unit in enumerate(units):
        if unit in known:
            found[place] = np.eye(3)[known[unit] + 1]
    return found


def _majority(vote_N: Ints, first_U: Ints) -> Floats:
    """Each pair's shares of the three votes, EM's starting point: (V, U)."""
    cast_VN = (np.arange(3)[:, None] == vote_N).astype(np.float64)
    shares_VU = np.add.reduceat(cast_VN, first_U, axis=1)
    return np.asarray(shares_VU / shares_VU.sum(0))


def _counts(truth_VU: Floats, unit_N: Ints, cell_N: Ints, num: int) -> Floats:
    """Each labeler's expected (truth, vote) counts, averaged over the two sides: (L, V, V)."""
    counts_VLV = [
        np.bincount(cell_N, weights=weight_U[unit_N], minlength=num * 3).reshape(num, 3)
        for weight_U in truth_VU
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


def _prior(truth_VU: Floats) -> Floats:
    """P(truth): the share of ties, and half of the rest for each side."""
    tie = (truth_VU[TIE].sum() + 0.5) / (truth_VU.shape[1] + 1)
    return np.array([(1 - tie) / 2, tie, (1 - tie) / 2], np.float64)


def _truth(table_LVV: Floats, prior_V: Floats, cell_N: Ints, first_U: Ints) -> Floats:
    """P(truth given the votes) of each pair: (V, U)."""
    logs_VC = np.log(table_LVV).transpose(1, 0, 2).reshape(3, -1)
    logs_VU = np.stack([np.add.reduceat(logs_C[cell_N], first_U) for logs_C in logs_VC])
    logs_VU += np.log(prior_V)[:, None]
    shares_VU: Floats = np.exp(logs_VU - logs_VU.max(0))
    shares_VU /= shares_VU.sum(0)
    return shares_VU
