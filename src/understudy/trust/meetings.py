"""Prompts that two labelers ranked, and on how many pairs of responses they agreed.

Compares the votes of two rankings as `agreement(ties="drop")` does, but keeps them by prompt and
with their times, for changes over time and the counts behind a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Protocol

import numpy as np

from understudy.trust.agreement import Vote
from understudy.trust.gold import Share
from understudy.trust.pairs import Measure, ratio


class Ranked(Protocol):
    """One labeler's ranking of one prompt's responses."""

    @property
    def prompt_id(self) -> str: ...
    @property
    def labeler_id(self) -> str: ...
    @property
    def rubric(self) -> str | None: ...
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
    """When each of them ranked."""
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
class _Said:
    """All of one labeler's votes on a prompt's responses, from one or more rankings."""

    at: str = ""
    preference: dict[tuple[str, str], int] = field(default_factory=dict)
    """Two responses -> above 0 for the first, below for the second, 0 for a tie."""


def meetings_of(rankings: Iterable[Ranked]) -> list[Meeting]:
    """Every two labelers' rankings of the same prompt, oldest first.

    A prompt may have been ranked in several rounds; a labeler's latest vote on a pair counts.
    """
    by_prompt: dict[str, dict[str, _Said]] = {}
    for ranking in rankings:
        people = by_prompt.setdefault(ranking.prompt_id, {})
        said = people.setdefault(ranking.labeler_id, _Said())
        said.at = max(said.at, ranking.at)
        for first, second in combinations(sorted(ranking.tier_of), 2):
            said.preference[first, second] = ranking.tier_of[second] - ranking.tier_of[first]
    return [
        _meeting(prompt_id, one, other, people)
        for prompt_id, people in by_prompt.items()
        for one, other in combinations(sorted(people), 2)
    ]


def _meeting(prompt_id: str, one: str, other: str, people: Mapping[str, _Said]) -> Meeting:
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
    """(labeler, labeler) -> pairs agreed, disagreed, left out: the counts behind a number."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for meeting in meetings:
        agreed, disagreed, left_out = found.get((meeting.one, meeting.other), (0, 0, 0))
        found[meeting.one, meeting.other] = (
            agreed + meeting.agreed,
            disagreed + meeting.disagreed,
            left_out + meeting.left_out,
        )
    return dict(sorted(found.items()))


def votes_of(rankings: Iterable[Ranked]) -> list[Vote]:
    """The votes of rankings by response id."""
    votes = []
    for ranking in rankings:
        for first, second in combinations(sorted(ranking.tier_of), 2):
            difference = ranking.tier_of[second] - ranking.tier_of[first]
            votes.append(
                Vote(
                    prompt_id=ranking.prompt_id,
                    first=first,
                    second=second,
                    value=(difference > 0) - (difference < 0),
                    labeler_id=ranking.labeler_id,
                    rubric=ranking.rubric,
                    at=ranking.at,
                )
            )
    return votes
