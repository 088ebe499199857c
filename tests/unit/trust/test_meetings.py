"""Where two labelers ranked the same prompt, by hand, and the same number as the votes give."""

import random
from dataclasses import dataclass, field

import pytest

from understudy.trust.agreement import agreement
from understudy.trust.meetings import cells, measure, meetings_of, shares_of, votes_of
from understudy.trust.reliability import consensus


@dataclass(frozen=True)
class Said:
    prompt_id: str
    labeler_id: str
    tier_of: dict = field(hash=False)
    at: str = "2026-01-01"
    rubric: str | None = None


ANN = Said("p", "ann", {"a": 0, "b": 1, "c": 1}, at="2026-01-01")
BEN = Said("p", "ben", {"a": 1, "b": 0, "c": 2, "d": 3}, at="2026-01-03")
CAT = Said("p", "cat", {"a": 0, "b": 1, "c": 2}, at="2026-01-02")


def test_a_meeting_by_hand():
    # a-b: opposed. a-c: alike. b-c: Ann ties. d was seen by Ben alone.
    (found,) = meetings_of([ANN, BEN])
    assert (found.one, found.other, found.at) == ("ann", "ben", "2026-01-03")
    assert (found.agreed, found.disagreed, found.left_out) == (1, 1, 1)


def test_cells_and_shares_add_up():
    meetings = meetings_of([ANN, BEN, CAT])
    assert cells(meetings) == {
        ("ann", "ben"): (1, 1, 1),
        ("ann", "cat"): (2, 0, 1),
        ("ben", "cat"): (2, 1, 0),
    }
    assert shares_of(meetings, "ben") == [("2026-01-03", "p", (3.0, 5))]
    assert shares_of(meetings, "nobody") == []


def test_of_a_pair_ranked_twice_the_later_ranking_counts():
    later = Said("p", "ann", {"a": 1, "b": 0}, at="2026-01-04")  # another round: c was not in it
    (found,) = meetings_of([ANN, BEN, later])
    assert (found.agreed, found.disagreed, found.left_out) == (2, 0, 1)  # a-b, a-c; b-c is tied
    assert found.one_at == "2026-01-04"


def test_the_same_number_as_the_votes():
    rng, said = random.Random(0), []
    for number in range(30):
        for name in rng.sample(["ann", "ben", "cat", "dan"], 3):
            said.append(Said(f"p{number}", name, {r: rng.randint(0, 2) for r in "abcd"}))
    by_meetings, by_votes = measure(meetings_of(said)), agreement(votes_of(said))
    assert by_meetings.value == pytest.approx(by_votes.value)
    assert (by_meetings.low, by_meetings.high) == pytest.approx((by_votes.low, by_votes.high))
    assert (by_meetings.n, by_meetings.num_left_out, by_meetings.num_prompts) == (
        by_votes.n,
        by_votes.num_left_out,
        by_votes.num_prompts,
    )


def test_nothing_shared_and_all_tied():
    assert measure([]).undefined == "no two labelers answered the same question"
    tied = measure(meetings_of([Said("p", n, {"a": 0, "b": 0}) for n in ("ann", "ben")]))
    assert (tied.value, tied.undefined) == (None, "every shared pair is tied")


def test_a_later_ranking_replaces_votes_and_nothing_makes_none() -> None:
    said = [
        Said("p", "l", {"a": 0, "b": 1, "c": 1}),
        Said("p", "m", {"b": 0, "a": 1}),
        Said("p", "l", {"b": 0, "a": 1}),
    ]
    votes = votes_of(said)
    found = {
        (votes.units[unit], votes.labelers[labeler]): value
        for unit, labeler, value in zip(votes.unit_A, votes.labeler_A, votes.value_A, strict=True)
    }
    assert found == {
        (("p", "a", "b"), "l"): -1,
        (("p", "a", "b"), "m"): -1,
        (("p", "a", "c"), "l"): 1,
        (("p", "b", "c"), "l"): 0,
    }
    assert len(votes_of([])) == 0
    assert consensus(votes_of([])).trust == {}
