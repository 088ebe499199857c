"""Agreement by hand, a published example of alpha, and recovery of planted noise."""

import random

import pytest

from understudy.records import Ranking
from understudy.trust.agreement import (
    Vote,
    accuracy_from_agreement,
    agreement,
    agreement_by_labeler,
    votes_of_rankings,
)


def _ranking(labeler, responses, tiers, prompt_id="p"):
    return Ranking(
        id=f"{prompt_id}/{labeler}", prompt_id=prompt_id, prompt="Q", responses=responses,
        tiers=tiers, labeler_id=labeler,
    )  # fmt: skip


def test_votes_of_a_ranking_with_a_tie():
    # a best, then b and c tied.
    votes = votes_of_rankings([_ranking("l", ("b", "a", "c"), ((1,), (0, 2)))])
    assert {(v.first, v.second): v.value for v in votes} == {
        ("a", "b"): 1,
        ("b", "c"): 0,
        ("a", "c"): 1,
    }


def test_votes_do_not_depend_on_the_order_shown():
    one = votes_of_rankings([_ranking("l", ("a", "b", "c"), ((0,), (1,), (2,)))])
    other = votes_of_rankings([_ranking("l", ("c", "a", "b"), ((1,), (2,), (0,)))])
    assert set(one) == set(other)


def test_equal_texts_make_no_vote():
    assert votes_of_rankings([_ranking("l", ("a", "a"), ((0,), (1,)))]) == []


# Two labelers on two prompts: same preference, opposite, one tie, both tie.
TWO = [
    *[Vote("p", "a", "b", v, labeler) for labeler, v in (("x", 1), ("y", 1))],
    *[Vote("p", "a", "c", v, labeler) for labeler, v in (("x", 1), ("y", -1))],
    *[Vote("q", "a", "b", v, labeler) for labeler, v in (("x", 0), ("y", 1))],
    *[Vote("q", "a", "c", v, labeler) for labeler, v in (("x", 0), ("y", 0))],
]


@pytest.mark.parametrize(
    ("ties", "rate", "n"), [("drop", 1 / 2, 2), ("half", 2.5 / 4, 4), ("exact", 2 / 4, 4)]
)
def test_the_three_ways_to_count_ties(ties, rate, n):
    found = agreement(TWO, ties=ties)
    assert (found.value, found.n) == (rate, n)


def test_no_shared_items_is_none_not_a_number():
    for votes in (
        [],
        [Vote("p", "a", "b", 1, "x"), Vote("p", "a", "c", 1, "y")],
        [Vote("p", "a", "b", 1, "x")] * 2,
    ):
        found = agreement(votes)
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)
        assert "no two labelers" in found.undefined
    tied = agreement([Vote("p", "a", "b", 0, "x"), Vote("p", "a", "b", 0, "y")])
    assert (tied.value, tied.num_left_out, tied.undefined) == (
        None,
        1,
        "every shared pair is tied",
    )


def test_by_labeler():
    votes = [Vote("p", "a", "b", v, who) for who, v in (("x", 1), ("y", 1), ("z", -1))]
    by_labeler = agreement_by_labeler(votes)
    assert {who: a.value for who, a in by_labeler.items()} == {"x": 0.5, "y": 0.5, "z": 0.0}


def _planted(accuracy, num_prompts, num_labelers=3, seed=0):
    rng = random.Random(seed)
    return [
        Vote(f"p{i}", "a", "b", 1 if rng.random() < accuracy else -1, f"l{j}")
        for i in range(num_prompts)
        for j in range(num_labelers)
    ]


def test_agreement_recovers_planted_noise():
    found = agreement(_planted(0.84, 2000))
    expected = 0.84**2 + 0.16**2  # 0.7312, about the paper's labelers
    assert found.low < expected < found.high
    assert found.high - found.low < 0.05
    assert accuracy_from_agreement(found.value) == pytest.approx(0.84, abs=0.015)


@pytest.mark.slow
def test_agreement_interval_covers_at_its_level():
    expected = 0.84**2 + 0.16**2
    found = [agreement(_planted(0.84, 150, seed=s), seed=s) for s in range(400)]
    assert 0.92 <= sum(a.low <= expected <= a.high for a in found) / 400 <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("num_prompts", [8, 20])
def test_agreement_interval_covers_with_few_prompts(num_prompts):
    expected = 0.84**2 + 0.16**2
    found = [agreement(_planted(0.84, num_prompts, seed=s), seed=s) for s in range(400)]
    assert sum(a.low <= expected <= a.high for a in found) / 400 >= 0.9


def test_an_interval_where_a_bootstrap_sees_nothing():
    # All agree on 10 prompts: Wilson's interval of 10 of 10, not 100% for sure.
    found = agreement(_planted(1.0, 10))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)
    one = agreement(_planted(1.0, 1))
    assert one.low == pytest.approx(1 / (1 + 1.96**2), abs=1e-3)


def test_counts_behind_the_number():
    found = agreement(TWO)
    assert (found.n, found.num_left_out, found.num_prompts, found.num_labelers) == (2, 2, 1, 2)


def test_accuracy_from_agreement_ends():
    assert accuracy_from_agreement(1.0) == 1.0
    assert accuracy_from_agreement(0.5) == 0.5
    with pytest.raises(ValueError, match="below chance"):
        accuracy_from_agreement(0.4)
