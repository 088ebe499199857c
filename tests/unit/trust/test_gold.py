"""Gold items: by lot at the set rate, and answers held against a key by hand."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.trust.gold import Score, accuracy, gold_due, score, shared_flags, shared_preferences

KEY = {
    "tiers": [["a"], ["b", "c"]],
    "ratings": {"a": {"flags": {"hallucination": False}}, "b": {"flags": {"hallucination": True}}},
}


def mixed(rate, num, seed):
    rng, gold, when = random.Random(seed), 0, []
    for done in range(num):
        due = gold_due(done, gold, rate, rng.random())
        gold += due
        when.append(due)
    return when


@given(st.floats(0.01, 0.5), st.integers(0, 50))
def test_the_rate_is_kept_within_two_items(rate, seed):
    when = mixed(rate, 200, seed)
    for done in range(1, 201):
        assert abs(sum(when[:done]) - rate * done) <= 3


def test_nobody_can_count_along():
    # Gaps between gold items vary, and differ from labeler to labeler.
    assert mixed(0.1, 300, 1) != mixed(0.1, 300, 2)
    places = [i for i, due in enumerate(mixed(0.1, 300, 1)) if due]
    assert len({b - a for a, b in pairwise(places)}) > 5


def test_no_rate_no_gold_and_no_nonsense():
    assert not any(mixed(0.0, 50, 0))
    assert all(mixed(1.0, 50, 0))
    with pytest.raises(ValueError, match="share from 0 to 1"):
        gold_due(0, 0, 5, 0.5)


def test_preferences_shared_by_hand():
    # The key prefers a to b and a to c. Tied with c, and worse than b: half of one.
    assert shared_preferences([["b"], ["a", "c"]], KEY["tiers"]) == (0.5, 2)
    assert shared_preferences([["a"], ["c"], ["b"]], KEY["tiers"]) == (2.0, 2)
    assert shared_preferences([], KEY["tiers"]) == (0.0, 2)
    assert shared_preferences([["a"]], []) == (0.0, 0)


def test_flags_shared_by_hand():
    ratings = {"a": {"flags": {"hallucination": False, "expresses_opinion": True}}}
    assert shared_flags(ratings, KEY["ratings"]) == (1.0, 2)
    assert shared_flags(ratings, KEY["ratings"], flags=("violent_content",)) == (0.0, 0)


def test_a_score_goes_through_the_store():
    found = score({"tiers": [["a"], ["b"], ["c"]], "ratings": {}}, KEY)
    assert found == Score(ranking=(2.0, 2), flags=(0.0, 2))
    assert Score.from_json(found.to_json()) == found
    assert found.overall == 1.0
    assert score({"text": "hello"}, {"text": "hi"}).overall is None
    assert score({"text": "hello"}, {"text": "hi"}).to_json() == {}


def test_accuracy_counts_prompts():
    found = accuracy([("p1", (2.0, 2)), ("p2", (1.0, 4)), ("p3", (0.0, 0))])
    assert (found.value, found.n, found.num_prompts) == (0.5, 6, 2)
    assert found.low < 0.5 < found.high
    assert accuracy([]).undefined == "no gold item was answered"
