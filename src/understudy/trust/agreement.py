"""How far labelers agree (s3.4: 72.6% among training, 77.3% among held-out labelers).

The unit is a *vote*: which of two responses to one prompt a labeler prefers, or neither. Two
labelers' votes on the same two responses are compared once. The paper does not say how ties count,
so the caller chooses:

* "drop"  (default) a pair of votes counts only if neither is a tie. Comparable with a reward
          model's accuracy, which is also measured on untied pairs.
* "half"  a tie against a preference is half an agreement, two ties are a whole one.
* "exact" a tie is a vote like the others: only equal votes agree.

Intervals are bootstrapped over prompts (see pairs.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from understudy.records import Ranking
from understudy.trust.pairs import Answers, Bools, Floats, Measure, Pairs, pairs_of, ratio, totals

Ties = Literal["drop", "half", "exact"]


@dataclass(frozen=True, slots=True)
class Vote:
    """`Vote("p1", "7", "9", 1, "l1")`: on p1, labeler l1 prefers "7" to "9"."""

    prompt_id: str
    first: str
    """The response that sorts first, so that all votes on a pair name it in the same order."""
    second: str
    value: int
    """1 first preferred, 0 tie, -1 second preferred."""
    labeler_id: str
    rubric: str | None = None
    """Version of the instructions."""
    at: str = ""
    """Time of the vote, ISO 8601 in UTC."""

    @property
    def unit(self) -> tuple[str, str, str]:
        """The pair that is voted on."""
        return self.prompt_id, self.first, self.second


def votes_of_ranking(ranking: Ranking, at: str = "") -> list[Vote]:
    """All K(K-1)/2 votes of a ranking; equal texts make no vote."""
    ranks = ranking.ranks
    return [
        _vote(ranking, ranking.responses[i], ranking.responses[j], ranks[j] - ranks[i], at)
        for i, j in combinations(range(len(ranks)), 2)
        if ranking.responses[i] != ranking.responses[j]
    ]


def votes_of_rankings(rankings: Iterable[Ranking]) -> list[Vote]:
    """The votes of all rankings."""
    return [vote for ranking in rankings for vote in votes_of_ranking(ranking)]


def agreement(
    votes: Iterable[Vote] | Answers | Pairs,
    *,
    ties: Ties = "drop",
    between: Callable[[str, str], bool] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Measure:
    """Share of pairs of votes that agree; undefined if no pair counts.

    `between(labeler, other)` keeps only some pairs of labelers, e.g. those of different groups.
    """
    pairs = votes if isinstance(votes, Pairs) else pairs_of(votes)
    if between is not None:
        pairs = pairs.between(between)
    if not len(pairs):
        return Measure(undefined="no two labelers answered the same question")
    counted = pairs
    if ties == "drop":
        counted = pairs.where((pairs.first_N != 0) & (pairs.second_N != 0))
        if not len(counted):
            return Measure(num_left_out=len(pairs), undefined="every shared pair is tied")
    agreed_N = agree(counted.first_N, counted.second_N, ties)
    totals_P2 = totals(counted, np.stack([agreed_N, np.ones(len(counted))], axis=1))
    rate, low, high = ratio(totals_P2, seed, level)
    left_out = len(pairs) - len(counted)
    return replace(counted.counted(), value=rate, low=low, high=high, num_left_out=left_out)


def agreement_by_labeler(
    votes: Iterable[Vote] | Answers | Pairs,
    *,
    ties: Ties = "drop",
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Measure]:
    """Each labeler's agreement with all others; omits labelers for whom it is undefined."""
    pairs = votes if isinstance(votes, Pairs) else pairs_of(votes)
    found = {
        name: agreement(pairs.where(involves(pairs, name)), ties=ties, seed=seed, level=level)
        for name in sorted(pairs.labelers)
    }
    return {name: measure for name, measure in found.items() if measure.value is not None}


def agree(first_N: Floats, second_N: Floats, ties: Ties) -> Floats:
    """1, 0.5 or 0 for each pair of votes that counts (see the module)."""
    agreed_N: Floats = (first_N == second_N).astype(np.float64)
    if ties == "half":
        agreed_N[(first_N == 0) != (second_N == 0)] = 0.5
    return agreed_N


def involves(pairs: Pairs, labeler: str) -> Bools:
    """Which pairs involve a labeler."""
    place = pairs.labelers.index(labeler)
    return np.asarray((pairs.one_N == place) | (pairs.other_N == place))


def accuracy_from_agreement(rate: float) -> float:
    """How often one labeler is right, if two equal and independent labelers agree at `rate`.

    They agree when both are right or both wrong, a^2 + (1 - a)^2: a = (1 + sqrt(2 rate - 1)) / 2.
    Labels of 72.6% agreement are right about 84% of the time.
    """
    if not 0.5 <= rate <= 1:
        raise ValueError(f"agreement {rate} is below chance (0.5) or above 1")
    return float((1 + np.sqrt(2 * rate - 1)) / 2)


def _vote(source: Ranking, first: str, second: str, difference: int, at: str = "") -> Vote:
    value = (difference > 0) - (difference < 0)
    if first > second:
        first, second, value = second, first, -value
    return Vote(source.prompt_id, first, second, value, source.labeler_id, source.rubric, at)
