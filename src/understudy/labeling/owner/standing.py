"""The standing of the labels: every measure of trust on the owner's pages, computed once.

Cached until labels change; a slow computation is not repeated at once (`PATIENCE`), so that an
owner who reloads a page does not slow the labelers.
"""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from understudy.store import Store
from understudy.store.labels.disagreements import decided_truths
from understudy.store.labels.gold import gold_answers
from understudy.store.labels.shared import (
    SharedRanking,
    SharedRating,
    roles,
    shared_rankings,
    shared_ratings,
    state_of_labels,
    use_cases,
)
from understudy.store.queue.pace import recent_work
from understudy.trust.agreement import Ties
from understudy.trust.drift import Alarm, Window, Work, alarms, windows_of, within
from understudy.trust.gold import Score, accuracy, score
from understudy.trust.meetings import Meeting, measure, meetings_of, shares_of, votes_of
from understudy.trust.pairs import Measure
from understudy.trust.reliability import Consensus, consensus
from understudy.trust.table import Judgements, Line, agreement_lines, flag_lines, marks_of

QUICK_S = 0.5
"""CPU seconds below which a computation may be repeated at once."""
PATIENCE = 20.0
"""A slower result stays valid for this many times its duration."""


@dataclass(frozen=True, slots=True)
class GoldShare:
    """An answer to a gold item and its score."""

    account_id: str
    at: str
    prompt_id: str
    score: Score
    item_id: str


@dataclass(frozen=True)
class Standing:
    """A snapshot of a project's labels."""

    at: str
    rankings: Sequence[SharedRanking]
    ratings: Sequence[SharedRating]
    role_of: dict[str, str]
    use_case_of: dict[str, str | None]
    truths: Sequence[tuple[str, tuple[tuple[str, ...], ...]]]
    gold: Sequence[GoldShare]
    work: dict[str, list[Work]]
    """Account -> its last items, oldest first."""

    @cached_property
    def judgements(self) -> Judgements:
        """The labels from which agreement is computed."""
        likert, flags = marks_of(self.ratings)
        return Judgements(
            votes=votes_of(self.rankings),
            likert=likert,
            flags=flags,
            role_of=self.role_of,
            use_case_of=self.use_case_of,
        )

    @cached_property
    def _lines(self) -> dict[Ties, list[Line]]:
        return {}

    def lines(self, ties: Ties) -> list[Line]:
        """The table of agreement."""
        if ties not in self._lines:
            self._lines[ties] = agreement_lines(self.judgements, ties=ties)
        return self._lines[ties]

    @cached_property
    def flags(self) -> list[tuple[str, int, int, Measure]]:
        """For each flag: (name, yes answers, all answers, alpha)."""
        return flag_lines(self.judgements)

    @cached_property
    def drift(self) -> tuple[list[Window], dict[str, list[Measure]]]:
        """Time windows, each with every role's agreement and the agreement with gold items."""
        times = [meeting.at for meeting in self.meetings if meeting.at]
        windows = windows_of([*times, *(one.at for one in self.gold)])
        lines: dict[str, list[Measure]] = {}
        for role in ("training", "held_out"):
            among = (
                meeting
                for meeting in self.meetings
                if self.role_of.get(meeting.one) == self.role_of.get(meeting.other) == role
            )
            lines[role] = [measure(some) for some in within(windows, among, lambda one: one.at)]
        lines["gold"] = gold_by_window(windows, self.gold)
        return windows, lines

    @cached_property
    def meetings(self) -> list[Meeting]:
        """Where two labelers ranked the same prompt."""
        return meetings_of(self.rankings)

    @cached_property
    def consensus(self) -> Consensus:
        """Labelers' estimated reliability; decided rankings count as known."""
        known = {}
        for prompt_id, tiers in self.truths:
            place = {name: tier for tier, names in enumerate(tiers) for name in names}
            for first in place:
                for second in place:
                    if first < second:
                        difference = place[second] - place[first]
                        sign = (difference > 0) - (difference < 0)
                        known[prompt_id, first, second] = sign
        return consensus(self.judgements.votes, known)

    @cached_property
    def meetings_of(self) -> dict[str, list[Meeting]]:
        """Each labeler's meetings with the others."""
        found: dict[str, list[Meeting]] = {name: [] for name in self.role_of}
        for meeting in self.meetings:
            found[meeting.one].append(meeting)
            found[meeting.other].append(meeting)
        return found

    @cached_property
    def agreement_of(self) -> dict[str, Measure]:
        """Each labeler's agreement with the others."""
        return {name: measure(found) for name, found in self.meetings_of.items()}

    def gold_of(self, account_id: str | None = None) -> Measure:
        """Agreement with the researchers' key on gold items: one labeler's, or everybody's."""
        return accuracy(
            (one.prompt_id, one.score.ranking)
            for one in self.gold
            if account_id in (None, one.account_id)
        )

    @cached_property
    def alarms(self) -> dict[str, list[Alarm]]:
        """Account -> alarms, for accounts with any."""
        gold: dict[str, list[Any]] = {}
        for one in self.gold:
            share = (one.at, one.prompt_id, one.score.ranking)
            gold.setdefault(one.account_id, []).append(share)
        found = {}
        for account_id in sorted({*self.work, *gold}):
            raised = alarms(
                self.work.get(account_id, []),
                gold.get(account_id, []),
                shares_of(self.meetings_of.get(account_id, []), account_id),
            )
            if raised:
                found[account_id] = raised
        return found


def gold_by_window(windows: Sequence[Window], gold: Sequence[GoldShare]) -> list[Measure]:
    """Agreement with the gold items in each window."""
    return [
        accuracy((one.prompt_id, one.score.ranking) for one in some)
        for some in within(windows, gold, lambda one: one.at)
    ]


def read_standing(store: Store, at: str) -> Standing:
    """Read a snapshot."""
    work: dict[str, list[Work]] = {}
    for row in recent_work(store):
        work.setdefault(row["account_id"], []).append(work_of(row))
    return Standing(
        at=at,
        rankings=shared_rankings(store),
        ratings=list(shared_ratings(store)),
        role_of=roles(store),
        use_case_of=use_cases(store),
        truths=decided_truths(store),
        gold=[
            GoldShare(
                one.account_id, one.at, one.prompt_id, score(one.answer, one.key), one.item_id
            )
            for one in gold_answers(store)
        ],
        work=work,
    )


@dataclass(slots=True)
class _Kept:
    state: Any = None
    standing: Standing | None = None
    until: float = 0.0


_KEPT: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()
_LOCK = threading.Lock()


def standing(store: Store, at: str) -> Standing:
    """The current standing, or a cached one (see the module)."""
    with _LOCK:
        kept = _KEPT.setdefault(store.engine, _Kept())
        if kept.standing is not None and time.monotonic() < kept.until:
            return kept.standing
        state = state_of_labels(store)
        if kept.standing is None or state != kept.state:
            start = time.thread_time()
            found = read_standing(store, at)
            found.lines("drop")
            _ = found.consensus, found.alarms, found.agreement_of, found.flags, found.drift
            took = time.thread_time() - start
            kept.state, kept.standing = state, found
            kept.until = time.monotonic() + PATIENCE * took if took > QUICK_S else 0.0
        return kept.standing


def work_of(row: Any) -> Work:
    """A row of `recent_work` in the form that the alarms use."""
    body = json.loads(row["body"]) if row["body"] else {}
    ratings = body.get("ratings") or {}
    return Work(
        kind=row["kind"],
        at=row["done_at"],
        prompt_id=row["prompt_id"] or "",
        skipped=row["state"] == "skipped",
        seconds=row["seconds"],
        characters=int(row["characters"]),
        tiers=tuple(tuple(_place(name) for name in tier) for tier in body.get("tiers") or []),
        likert=tuple(ratings[name]["likert"] for name in sorted(ratings, key=_place)),
    )


def _place(name: str) -> int:
    """A response's place on the page, from 0: a1 is the first."""
    return int(name[1:]) - 1
