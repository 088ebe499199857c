"""Windows and alarms: what is named, and how seldom somebody steady is."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from understudy.trust.drift import Work, alarms, falls, pace, windows_of

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def at(hours):
    return (START + timedelta(hours=hours)).isoformat(timespec="microseconds")


def rank(n, order=None, seconds=120.0, likert=(), k=4, **more):
    order = random.Random(n).sample(range(k), k) if order is None else order
    tiers = tuple((place,) for place in order)
    return Work(
        kind="rank", at=at(n), prompt_id=f"p{n}", seconds=seconds, characters=2000, tiers=tiers,
        likert=likert or tuple(random.Random(n).choices(range(1, 8), k=k)), **more,
    )  # fmt: skip


def kinds(work, **more):
    return [alarm.kind for alarm in alarms(work, **more)]


def test_somebody_ordinary_raises_no_alarm():
    assert kinds([rank(n) for n in range(200)]) == []
    assert kinds([]) == []


def test_skips_in_a_row_up_to_now():
    skipped = [Work(kind="rank", at=at(n), skipped=True) for n in range(10, 16)]
    (alarm,) = alarms([rank(1), *skipped])
    assert (alarm.kind, alarm.since) == ("skips", at(10))
    assert "last 6 items" in alarm.text
    assert kinds([*skipped, rank(20)]) == []


def test_faster_than_anybody_reads():
    quick = [rank(n, seconds=8.0) for n in range(20)]
    (alarm,) = alarms(quick)
    assert alarm.kind == "too_fast"
    assert "20 of the last 20" in alarm.text
    # 2,000 characters in 40 s are fast, and possible.
    assert kinds([rank(n, seconds=40.0) for n in range(20)]) == []
    assert kinds([rank(n, seconds=None) for n in range(20)]) == []


@pytest.mark.parametrize(
    ("order", "what"), [([0, 1, 2, 3], "in the order"), ([3, 2, 1, 0], "in the reverse")]
)
def test_always_the_order_of_the_page(order, what):
    found = alarms([rank(n, order=order) for n in range(30)])
    assert [alarm.kind for alarm in found] == ["same_order", "order_bias"]
    assert what in found[0].text


def test_everything_tied_and_always_the_same_rating():
    work = [
        Work(kind="rank", at=at(n), tiers=((0, 1, 2, 3),), likert=(5, 5, 5, 5)) for n in range(12)
    ]
    assert kinds(work) == ["all_tied", "same_rating"]
    assert kinds([*work[:-1], rank(11)]) == ["all_tied"]


def test_a_leaning_to_what_stands_first():
    rng, work = random.Random(0), []
    for n in range(60):
        order = sorted(range(5), key=lambda place: place + rng.gauss(0, 3))
        work.append(rank(n, order=order, k=5))
    (alarm,) = alarms(work)
    assert alarm.kind == "order_bias"
    assert "came first" in alarm.text


def shares(accuracies, seed=0, pairs=6):
    rng = random.Random(seed)
    return [
        (at(n), f"p{n}", (float(sum(rng.random() < a for _ in range(pairs))), pairs))
        for n, a in enumerate(accuracies)
    ]


def test_a_fall_is_found():
    steady_then_not = shares([0.85] * 80 + [0.6] * 20)
    assert kinds([], gold=steady_then_not) == ["gold_falls"]
    assert kinds([], agreed=steady_then_not) == ["agreement_falls"]
    (alarm,) = alarms([], gold=steady_then_not)
    assert alarm.since == at(80)
    assert "over 80 items" in alarm.text


def test_somebody_steady_is_seldom_named():
    # Also where the answers on one prompt hang together.
    named = 0
    for seed in range(100):
        rng = random.Random(seed)
        per_prompt = [min(1.0, max(0.0, rng.gauss(0.8, 0.15))) for _ in range(60)]
        named += falls("gold_falls", "x", shares(per_prompt, seed=seed)) is not None
    assert named <= 3


def test_low_from_the_start():
    assert kinds([], gold=shares([0.5] * 30)) == ["gold_low"]
    assert kinds([], gold=shares([0.72] * 10)) == []
    assert kinds([], gold=shares([0.5] * 3)) == []


def test_windows_are_days_weeks_or_months():
    days = windows_of([at(0), at(30), at(72)])
    assert [w.label for w in days] == ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"]
    assert [w.holds(at(30)) for w in days] == [False, True, False, False]
    weeks = windows_of([at(24 * 3), at(24 * 40)])
    assert weeks[0].label == "week of 2026-03-02"
    assert len(weeks) == 6
    months = windows_of([at(0), at(24 * 300)])
    assert (months[0].label, months[-1].label) == ("2026-03", "2026-12")
    assert months[9].end == "2027-01-01"
    assert windows_of([]) == []


def test_every_moment_is_in_one_window():
    for span in (5, 50, 500):
        times = [at(24 * span * n / 99) for n in range(100)]
        found = windows_of(times)
        assert all(sum(window.holds(time) for window in found) == 1 for time in times)


def test_pace_counts_days_that_are_over():
    done = [("2026-03-02", "a", 1, 1), ("2026-03-02", "b", 1, 0), ("2026-03-03", "a", 1, 0)]
    found = pace(done, today="2026-03-04")
    assert found.days == (
        ("2026-03-02", 2, 1, 2),
        ("2026-03-03", 1, 0, 1),
        ("2026-03-04", 0, 0, 0),
    )
    assert found.per_day == 1.5
    assert pace([], today="2026-03-04").per_day is None
