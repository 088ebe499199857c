"""Prompts that two labelers ranked, and on how many pairs of responses they agreed.

Compares the votes of two rankings as `agreement(ties="drop")` does, but keeps the counts by prompt
and time, to show changes over time and the counts behind a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Protocol

import numpy as np

from understudy.trust.gold import Share
from understudy.trust.pairs import Answers, Measure, Numbering, Places, Said, ratio


class Ranked(Said, Protocol):
    """One labeler's ranking of one prompt's responses."""

    @property
    def at(self) -> str: ...
    @property
    def tier_of(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """Two labelers on one prompt, and the pairs of responses that both ranked."""

    prompt_id: str
    one: str
    other: str
    one_at: str
    """When `one` ranked; `other_at` is when the other did."""
    other_at: str
    agreed: int
    """Pairs of responses with the same preference."""
    disagreed: int
    """Pairs with opposite preferences."""
    left_out: int
    """Pairs that at least one of them ties."""

    @property
    def at(self) -> str:
        """When the later one ranked."""
        return max(self.one_at, self.other_at)


@dataclass(slots=True)
class _Preferences:
    """All of one labeler's votes on a prompt's responses, from one or more rankings."""

    at: str = ""
    preference: dict[tuple[str, str], int] = field(default_factory=dict)
    """Pair of responses -> above 0 if the first is better, below 0 if the second, 0 for a tie."""


def meetings_of(rankings: Iterable[Ranked]) -> list[Meeting]:
    """Every two labelers' rankings of the same prompt, oldest first.

    A prompt may have been ranked in several rounds; a labeler's latest vote on a pair counts.
    """
    by_prompt: dict[str, dict[str, _Preferences]] = {}
    for ranking in rankings:
        people = by_prompt.setdefault(ranking.prompt_id, {})
        said = people.setdefault(ranking.labeler_id, _Preferences())
        said.at = max(said.at, ranking.at)
        for first, second in combinations(sorted(ranking.tier_of), 2):
            said.preference[first, second] = ranking.tier_of[second] - ranking.tier_of[first]
    return [
        _meeting(prompt_id, one, other, people)
        for prompt_id, people in by_prompt.items()
        for one, other in combinations(sorted(people), 2)
    ]


def _meeting(prompt_id: str, one: str, other: str, people: Mapping[str, _Preferences]) -> Meeting:
    mine, theirs = people[one], people[other]
    agreed = disagreed = left_out = 0
    for pair in mine.preference.keys() & theirs.preference.keys():
        both = mine.preference[pair] * theirs.preference[pair]
        agreed += both > 0
        disagreed += both < 0
        left_out += both == 0
    return Meeting(
        prompt_id=prompt_id,
        one=one,
        other=other,
        one_at=mine.at,
        other_at=theirs.at,
        agreed=agreed,
        disagreed=disagreed,
        left_out=left_out,
    )


def measure(meetings: Sequence[Meeting], *, level: float = 0.95) -> Measure:
    """Agreement over these meetings without ties, as in `agreement`."""
    left_out = sum(meeting.left_out for meeting in meetings)
    counted = [meeting for meeting in meetings if meeting.agreed + meeting.disagreed]
    if not counted:
        reason = "no two labelers answered the same question"
        if left_out:
            reason = "every shared pair is tied"
        return Measure(num_left_out=left_out, undefined=reason)
    sums: dict[str, list[float]] = {}
    for meeting in counted:
        both = sums.setdefault(meeting.prompt_id, [0.0, 0.0])
        both[0] += meeting.agreed
        both[1] += meeting.agreed + meeting.disagreed
    value, low, high = ratio(np.array(list(sums.values())), level=level)
    people = {name for meeting in counted for name in (meeting.one, meeting.other)}
    found = Measure(value=value, low=low, high=high, num_prompts=len(sums))
    total = sum(meeting.agreed + meeting.disagreed for meeting in counted)
    return replace(found, n=total, num_left_out=left_out, num_labelers=len(people))


def shares_of(meetings: Iterable[Meeting], labeler: str) -> list[tuple[str, str, Share]]:
    """(time, prompt, share agreed with the others) of one labeler's rankings, oldest first."""
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for meeting in meetings:
        if labeler in (meeting.one, meeting.other):
            at = meeting.one_at if labeler == meeting.one else meeting.other_at
            agreed, total = sums.get((at, meeting.prompt_id), (0.0, 0))
            counted = meeting.agreed + meeting.disagreed
            sums[at, meeting.prompt_id] = (agreed + meeting.agreed, total + counted)
    return [(at, prompt_id, share) for (at, prompt_id), share in sorted(sums.items())]


def cells(meetings: Iterable[Meeting]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(labeler, labeler) -> numbers of pairs (agreed, disagreed, left out)."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for meeting in meetings:
        agreed, disagreed, left_out = found.get((meeting.one, meeting.other), (0, 0, 0))
        found[meeting.one, meeting.other] = (
            agreed + meeting.agreed,
            disagreed + meeting.disagreed,
            left_out + meeting.left_out,
        )
    return dict(sorted(found.items()))


def votes_of(rankings: Iterable[Ranked]) -> Answers:
    """The votes of rankings, on pairs of response ids; the questions are (prompt, first, second),
    as in `Vote.unit`. A labeler's latest vote on a pair counts."""
    given = list(rankings)
    numbering, names = Numbering(one.labeler_id for one in given), Places()
    by_size: dict[int, list[tuple[int, ...]]] = {}
    for number, one in enumerate(given):
        shown = sorted(one.tier_of.items())
        row = (number, *numbering.row(one))
        places = (names[one.prompt_id, name] for name, _ in shown)
        by_size.setdefault(len(shown), []).append((*row, *places, *(tier for _, tier in shown)))
    columns = [np.zeros((0, 7), np.int64)]
    for size, rows in by_size.items():
        table_RC = np.array(rows, np.int64)
        place_RK, tier_RK = table_RC[:, 4 : 4 + size], table_RC[:, 4 + size :]
        first, second = np.triu_indices(size, 1)
        shape = (len(rows), len(first))
        who = [np.broadcast_to(table_RC[:, c, None], shape) for c in range(4)]
        value = np.sign(tier_RK[:, second] - tier_RK[:, first])
        columns.append(
            np.stack([*who, place_RK[:, first], place_RK[:, second], value], axis=2).reshape(-1, 7)
        )
    votes_A7 = np.concatenate(columns)
    units_U, unit_A = np.unique(votes_A7[:, 4] * len(names) + votes_A7[:, 5], return_inverse=True)
    order = np.lexsort((votes_A7[:, 0], votes_A7[:, 2], unit_A))
    votes_A7, unit_A = votes_A7[order], unit_A[order]
    kept = np.ones(len(unit_A), bool)
    kept[:-1] = (unit_A[1:] != unit_A[:-1]) | (votes_A7[1:, 2] != votes_A7[:-1, 2])
    known = list(names)
    pairs = (divmod(int(unit), len(names)) for unit in units_U)
    return numbering.answers(
        unit_A=unit_A[kept],
        value_A=votes_A7[kept, 6].astype(np.float64),
        by_A3=votes_A7[kept, 1:4],
        units=[(*known[first], known[second][1]) for first, second in pairs],
    )
