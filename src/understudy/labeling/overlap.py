"""How many people label an item: several for a set share, one for the rest, more on disagreement.

Stiennon et al. (2020, C.2) gave 10-20% of each labeler's items to several; InstructGPT's
comparisons mostly have one labeler, for cost (s5.3).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from understudy.store.labels.submissions import Opinion

ENOUGH = 0.7
"""Mean agreement of an item's labelers below which one more is asked: about the labelers' average
(72.6%, s3.4)."""


def wants_more(opinions: Sequence[Opinion]) -> bool:
    """Whether to ask one more labeler: somebody is unsure, or they disagree."""
    if any(opinion.outcome != "ranked" for opinion in opinions):
        return True
    rates = [
        rate
        for one, other in combinations(opinions, 2)
        if (rate := pair_agreement(one.tier_of, other.tier_of)) is not None
    ]
    return bool(rates) and sum(rates) / len(rates) < ENOUGH


def pair_agreement(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Share of pairs of responses ordered alike, a tie against a preference counting half; None
    without pairs.

    >>> pair_agreement({"a": 0, "b": 1, "c": 1}, {"a": 0, "b": 1, "c": 2})
    0.8333333333333334
    """
    pairs = list(combinations(sorted(one.keys() & other.keys()), 2))
    if not pairs:
        return None
    return sum(_alike(one[a] - one[b], other[a] - other[b]) for a, b in pairs) / len(pairs)


def _alike(one: int, other: int) -> float:
    if one == 0 or other == 0:
        return 1.0 if one == other else 0.5
    return 1.0 if (one > 0) == (other > 0) else 0.0
