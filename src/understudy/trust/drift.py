"""How labels change over time, and alarms for a person to look at.

Windows are days, weeks or months, so that there are few of them. Alarms look at a labeler's latest
items and state the numbers, without judging. Thresholds are chosen so that a labeler whose work has
not changed seldom raises one (`tests/unit/trust/test_drift.py` counts how often).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import TypeVar

from understudy.trust.gold import Share, accuracy
from understudy.trust.pairs import Measure

RECENT = 20
"""Number of items that count as recent."""
FALL = 0.05
"""Smallest fall that raises an alarm, however certain it is."""
FALL_Z = 3.0
"""Number of standard errors that a fall must exceed."""
SKIPS_IN_A_ROW = 5
READING = 60.0
"""Characters per second faster than anybody reads: about 700 words a minute."""
FAST_SHARE = 0.5
"""Share of recent items done faster than anybody reads that raises an alarm."""
SAME_ORDER = 0.8
"""Share of recent rankings with one pattern that raises an alarm."""
PATTERN_ITEMS = 10
"""Fewest recent items, or rankings, from which to conclude anything."""
SAME_RATING = 30
"""Equal ratings in a row that raise an alarm."""
ORDER_BIAS = 0.25
"""Mean Kendall correlation of rank with place on the page that raises an alarm, if it also exceeds
FALL_Z standard errors."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time: `Window("week of 2026-11-23", "2026-11-23", "2026-11-30")`."""

    label: str
    start: str
    """First day, ISO 8601."""
    end: str
    """The day after the last."""

    def holds(self, at: str) -> bool:
        """Whether the window contains an ISO 8601 time in UTC."""
        return self.start <= at[:10] < self.end


Timed = TypeVar("Timed")


def within(
    windows: Sequence[Window], found: Iterable[Timed], at: Callable[[Timed], str]
) -> list[list[Timed]]:
    """The items of each window."""
    starts, lists = [window.start for window in windows], [list[Timed]() for _ in windows]
    for one in found:
        place = bisect_right(starts, at(one)[:10]) - 1
        if place >= 0 and windows[place].holds(at(one)):
            lists[place].append(one)
    return lists


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One item that a labeler finished or skipped."""

    kind: str
    """demonstrate, rank or write."""
    at: str
    """ISO 8601 in UTC."""
    prompt_id: str = ""
    skipped: bool = False
    seconds: float | None = None
    """Active seconds, if the page measured them."""
    characters: int = 0
    """Characters of text to read."""
    tiers: tuple[tuple[int, ...], ...] = ()
    """A ranking's tiers, best first, of places on the page."""
    likert: tuple[int, ...] = ()
    """Ratings in the order of the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """An anomaly that a person should look at."""

    kind: str
    text: str
    """One sentence with the numbers."""
    since: str
    """Time of the first item that shows it."""


def windows_of(times: Sequence[str], most: int = 14) -> list[Window]:
    """Windows from the first time to the last: days if at most `most`, else weeks, else months."""
    if not times:
        return []
    first, last = date.fromisoformat(min(times)[:10]), date.fromisoformat(max(times)[:10])
    if (last - first).days < most:
        starts = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [Window(f"{d}", f"{d}", f"{d + timedelta(days=1)}") for d in starts]
    monday = first - timedelta(days=first.weekday())
    if (last - monday).days < 7 * most:
        weeks = [monday + timedelta(weeks=n) for n in range((last - monday).days // 7 + 1)]
        return [Window(f"week of {d}", f"{d}", f"{d + timedelta(weeks=1)}") for d in weeks]
    month, found = first.replace(day=1), []
    while month <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        found.append(Window(f"{month:%Y-%m}", f"{month}", f"{following}"))
        month = following
    return found


def alarms(
    work: Sequence[Work],
    gold: Sequence[tuple[str, str, Share]] = (),
    agreed: Sequence[tuple[str, str, Share]] = (),
) -> list[Alarm]:
    """The alarms on one labeler's work; `work` has the oldest item first.

    `gold` and `agreed` are (time, prompt, share) of agreement with the researchers' key and with
    other labelers' votes.
    """
    found = [
        skips(work),
        too_fast(work),
        *same_pattern(work),
        same_rating(work),
        order_bias(work),
        falls("gold_falls", "Agreement with the gold items", gold),
        falls("agreement_falls", "Agreement with the other labelers", agreed),
        gold_low(gold),
    ]
    return [alarm for alarm in found if alarm is not None]


def skips(work: Sequence[Work]) -> Alarm | None:
    """The latest items were all skipped."""
    streak: list[Work] = []
    for item in reversed(work):
        if not item.skipped:
            break
        streak.append(item)
    if len(streak) < SKIPS_IN_A_ROW:
        return None
    text = f"The last {len(streak)} items were all skipped."
    return Alarm(kind="skips", text=text, since=streak[-1].at)


def too_fast(work: Sequence[Work]) -> Alarm | None:
    """Many recent items were finished faster than anybody can read them."""
    timed = [w for w in work if w.seconds is not None and w.characters and not w.skipped]
    recent = timed[-RECENT:]
    fast = [w for w in recent if w.characters / max(w.seconds or 0.0, 0.01) > READING]
    if len(recent) < PATTERN_ITEMS or len(fast) < FAST_SHARE * len(recent):
        return None
    typical = median(w.seconds or 0.0 for w in fast)
    text = (
        f"{len(fast)} of the last {len(recent)} items took less time than reading them takes "
        f"(at {READING:.0f} characters a second); half of those took under {typical:.0f} s."
    )
    return Alarm(kind="too_fast", text=text, since=fast[0].at)


def same_pattern(work: Sequence[Work]) -> list[Alarm]:
    """Recent rankings nearly all follow the page's order, or its reverse, or tie everything."""
    ranked = [w for w in work if sum(map(len, w.tiers)) > 2][-RECENT:]
    if len(ranked) < PATTERN_ITEMS:
        return []
    patterns = (
        ("same_order", "put the responses in the order of the page", _in_order),
        ("same_order", "put the responses in the reverse order of the page", _in_reverse),
        ("all_tied", "put all responses in one tier", lambda tiers: len(tiers) == 1),
    )
    found = []
    for kind, what, matches in patterns:
        hits = [w for w in ranked if matches(w.tiers)]
        if len(hits) >= SAME_ORDER * len(ranked):
            text = f"{len(hits)} of the last {len(ranked)} rankings {what}."
            found.append(Alarm(kind=kind, text=text, since=hits[0].at))
    return found


def same_rating(work: Sequence[Work]) -> Alarm | None:
    """The last ratings, over several items, are all the same."""
    run: list[tuple[str, int]] = []
    for item in reversed(work):
        for likert in reversed(item.likert):
            if run and likert != run[-1][1]:
                return _rating_alarm(run)
            run.append((item.at, likert))
    return _rating_alarm(run)


def order_bias(work: Sequence[Work]) -> Alarm | None:
    """Rank correlates with the place on the page, which is random."""
    taus = [(w.at, tau) for w in work if (tau := _kendall(w.tiers)) is not None][-5 * RECENT :]
    if len(taus) < RECENT:
        return None
    values = [tau for _, tau in taus]
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    if abs(mean) < max(ORDER_BIAS, FALL_Z * spread / math.sqrt(len(values))):
        return None
    which = "first" if mean > 0 else "last"
    text = (
        f"Over {len(values)} rankings the responses that came {which} on the page were ranked "
        f"higher (mean Kendall correlation {mean:+.2f}; the order is random)."
    )
    return Alarm(kind="order_bias", text=text, since=taus[0][0])


def falls(kind: str, what: str, shares: Sequence[tuple[str, str, Share]]) -> Alarm | None:
    """Agreement on recent items is clearly lower than before."""
    counted = [one for one in shares if one[2][1]]
    before, lately = counted[:-RECENT], counted[-RECENT:]
    if len(before) < RECENT or len(lately) < RECENT:
        return None
    then, now = _measure(before), _measure(lately)
    drop = (then.value or 0.0) - (now.value or 0.0)
    if drop < max(FALL, FALL_Z * math.hypot(_error(then), _error(now))):
        return None
    text = (
        f"{what} fell from {then.value:.0%} over {len(before)} items to {now.value:.0%} over the "
        f"last {len(lately)}."
    )
    return Alarm(kind=kind, text=text, since=lately[0][0])


def gold_low(shares: Sequence[tuple[str, str, Share]], cutoff: float = 0.75) -> Alarm | None:
    """The whole interval of agreement with the gold items is below the screening cutoff."""
    found = _measure(shares)
    if found.high is None or found.high >= cutoff or found.num_prompts < 5:
        return None
    text = (
        f"Agreement with the gold items is {found.value:.0%} ({found.low:.0%} to {found.high:.0%}) "
        f"over {found.num_prompts} items; screening required {cutoff:.0%}."
    )
    return Alarm(kind="gold_low", text=text, since=min(at for at, _, _ in shares))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The pace of work."""

    days: tuple[tuple[str, int, int, int], ...]
    """(day, done, skipped, labelers), every day from the first to the last one."""
    per_day: float | None
    """Mean over the last seven complete days, or as many as there are."""


def pace(counts: Sequence[tuple[str, str, int, int]], today: str) -> Pace:
    """The pace up to the day `today`, from rows (day, labeler, items done, items skipped), at most
    one per labeler and day."""
    if not counts:
        return Pace(days=(), per_day=None)
    first = date.fromisoformat(min(day for day, *_ in counts))
    last = max(date.fromisoformat(today[:10]), first)
    by_day: Mapping[str, list[tuple[int, int]]] = {
        f"{first + timedelta(days=n)}": [] for n in range((last - first).days + 1)
    }
    for day, _, done, skipped in counts:
        if day in by_day:
            by_day[day].append((done, skipped))
    days = tuple(
        (day, sum(done for done, _ in rows), sum(skipped for _, skipped in rows), len(rows))
        for day, rows in by_day.items()
    )
    over = [day for day in days if day[0] < f"{last}"][-7:] or list(days)
    return Pace(days=days, per_day=sum(day[1] for day in over) / len(over))


def _measure(shares: Sequence[tuple[str, str, Share]]) -> Measure:
    return accuracy((prompt, share) for _, prompt, share in shares)


def _error(measure: Measure) -> float:
    """Approximately one standard error, from the width of the interval."""
    if measure.low is None or measure.high is None:
        return 1.0
    return (measure.high - measure.low) / (2 * 1.96)


def _rating_alarm(run: Sequence[tuple[str, int]]) -> Alarm | None:
    if len(run) < SAME_RATING:
        return None
    text = f"The last {len(run)} ratings are all {run[0][1]}."
    return Alarm(kind="same_rating", text=text, since=run[-1][0])


def _in_order(tiers: tuple[tuple[int, ...], ...]) -> bool:
    return tiers == tuple((place,) for place in range(len(tiers)))


def _in_reverse(tiers: tuple[tuple[int, ...], ...]) -> bool:
    return tiers == tuple((place,) for place in reversed(range(len(tiers))))


def _kendall(tiers: tuple[tuple[int, ...], ...]) -> float | None:
    """Kendall's tau-a of rank and place on the page; None if all responses are tied."""
    rank = {place: tier for tier, places in enumerate(tiers) for place in places}
    if len(tiers) < 2:
        return None
    num = len(rank)
    concordant = sum(
        (rank[b] > rank[a]) - (rank[b] < rank[a]) for a in range(num) for b in range(a + 1, num)
    )
    return 2 * concordant / (num * (num - 1))
