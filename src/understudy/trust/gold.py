"""Gold items mixed into labelers' work, and scores against their keys.

A labeler cannot tell a gold item from others: it comes from the same queue, at random and at the
configured rate, and the labeler's answer becomes a label like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.trust.pairs import Measure, ratio

MOST_BEHIND = 2.0
"""Most gold items by which a labeler may be behind or ahead of the rate."""
Share = tuple[float, int]
"""(agreed, total)."""


def gold_due(num_done: int, num_gold_done: int, rate: float, draw: float) -> bool:
    """Whether a labeler's next item is to be a gold item.

    `draw` is a uniform random number for this labeler and this number of items done. The choice is
    random, so that nobody can predict gold items, but it never falls more than MOST_BEHIND items
    behind the rate or runs ahead of it by more.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of gold items is {rate}; it must be a share from 0 to 1")
    behind = rate * (num_done + 1) - num_gold_done
    if rate == 0 or behind <= -MOST_BEHIND:
        return False
    return behind >= MOST_BEHIND or draw < rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """An answer scored against the researcher's key: `Score(ranking=(4.5, 6), flags=(40, 44))`."""

    ranking: Share = (0.0, 0)
    """How many of the key's strict preferences the answer shares; a tie counts half."""
    flags: Share = (0.0, 0)
    """How many of the key's flags the answer matches."""

    def to_json(self) -> dict[str, list[float]]:
        """The JSON form, without parts that were not asked for."""
        shares = {"ranking": self.ranking, "flags": self.flags}
        return {name: [share[0], share[1]] for name, share in shares.items() if share[1]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Sequence[float]]) -> "Score":
        """The score that `to_json` wrote."""
        return cls(**{name: (float(a), int(n)) for name, (a, n) in plain.items()})

    @property
    def overall(self) -> float | None:
        """One share to tell the labeler: the ranking's, else the flags', else None."""
        for agreed, total in (self.ranking, self.flags):
            if total:
                return agreed / total
        return None


def score(
    answer: Mapping[str, Any], key: Mapping[str, Any], flags: Sequence[str] | None = None
) -> Score:
    """Score an answer against a key; both have `tiers` of response ids and `ratings` by response
    id.

    `flags`, if given, are the only flags scored. Parts missing from the key are not scored; parts
    missing from the answer count as wrong.
    """
    tiers = answer.get("tiers") or []
    return Score(
        ranking=shared_preferences(tiers, key.get("tiers") or []),
        flags=shared_flags(answer.get("ratings") or {}, key.get("ratings") or {}, flags),
    )


def shared_preferences(tiers: Sequence[Sequence[Any]], key: Sequence[Sequence[Any]]) -> Share:
    """(shared, total) of the key's strict preferences; a tie counts half."""
    rank = {name: place for place, tier in enumerate(tiers) for name in tier}
    agreed, total = 0.0, 0
    for place, tier in enumerate(key):
        lower = [name for below in key[place + 1 :] for name in below]
        for better in tier:
            for worse in lower:
                total += 1
                if better in rank and worse in rank:
                    difference = rank[worse] - rank[better]
                    agreed += 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0
    return agreed, total


def shared_flags(
    ratings: Mapping[str, Mapping[str, Any]],
    key: Mapping[str, Mapping[str, Any]],
    flags: Sequence[str] | None = None,
) -> Share:
    """(matching, total) of the key's flags."""
    agreed, total = 0, 0
    for response_id, expected in key.items():
        given = ratings.get(response_id, {}).get("flags") or {}
        for name, truth in (expected.get("flags") or {}).items():
            if flags is None or name in flags:
                total += 1
                agreed += given.get(name) is truth
    return float(agreed), total


def accuracy(shares: Iterable[tuple[str, Share]], *, level: float = 0.95) -> Measure:
    """Accuracy over (prompt, share) with its interval; `n` is the sum of the shares' totals."""
    sums: dict[str, list[float]] = {}
    for prompt_id, (agreed, total) in shares:
        if total:
            both = sums.setdefault(prompt_id, [0.0, 0.0])
            both[0] += agreed
            both[1] += total
    if not sums:
        return Measure(undefined="no gold item was answered")
    totals_P2 = np.array(list(sums.values()))
    value, low, high = ratio(totals_P2, level=level)
    n = int(totals_P2[:, 1].sum())
    return Measure(value=value, low=low, high=high, n=n, num_prompts=len(sums), num_labelers=1)
