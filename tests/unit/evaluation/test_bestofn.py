"""Best-of-n against enumeration of every subset, and the gate on scores that know and do not."""

import math
from itertools import combinations

import numpy as np
import pytest

from understudy.evaluation.bestofn import (
    best_of_n,
    best_of_n_curve,
    best_of_n_wins,
    gate,
    keep_weights,
    kl_bound,
    pick_best,
)
from understudy.records import Response


def _naive_best(scores, values, n):
    kept = [max(s, key=lambda i: scores[i]) for s in combinations(range(len(scores)), n)]
    return np.mean([values[i] for i in kept])


def _naive_wins(scores, gold, n):
    outcomes = []
    for subset in combinations(range(len(scores)), n):
        kept = max(subset, key=lambda i: scores[i])
        for other in set(range(len(scores))) - set(subset):
            outcomes.append((np.sign(gold[kept] - gold[other]) + 1) / 2)
    return np.mean(outcomes)


def test_kl_bound_by_hand():
    assert kl_bound(1) == 0
    assert kl_bound(4) == pytest.approx(math.log(4) - 0.75)


def test_keep_weights_of_best_of_2_from_3():
    # Subsets of ranks {0,1} {0,2} {1,2}: rank 1 kept once, rank 2 twice.
    assert keep_weights(3, 2) == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_best_of_n_is_the_mean_over_all_subsets(n):
    rng = np.random.default_rng(n)
    scores, values = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    expected = [_naive_best(s, v, n) for s, v in zip(scores, values, strict=True)]
    assert best_of_n(scores, values, n) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_wins_are_the_mean_over_subsets_and_opponents(n):
    rng = np.random.default_rng(n)
    scores, gold = rng.normal(size=(3, 6)), rng.integers(0, 3, size=(3, 6))
    expected = [_naive_wins(s, g, n) for s, g in zip(scores, gold, strict=True)]
    assert best_of_n_wins(scores, gold, n) == pytest.approx(expected)


def test_one_sample_against_another_is_even():
    gold = np.random.default_rng(0).normal(size=(5, 8))
    assert best_of_n_wins(gold, gold, 1) == pytest.approx(0.5)


def test_with_all_samples_in_the_subset_a_perfect_score_always_wins():
    gold = np.arange(8.0)[None]
    assert best_of_n_wins(gold, gold, 8) == pytest.approx([1.0])


def test_more_samples_than_there_are_is_refused():
    with pytest.raises(ValueError, match="best-of-4 needs at least 4 samples per prompt, not 3"):
        best_of_n(np.zeros((2, 3)), np.zeros((2, 3)), 4)
    with pytest.raises(ValueError, match="no opponent"):
        best_of_n_wins(np.zeros((2, 1)), np.zeros((2, 1)), 1)
    with pytest.raises(ValueError, match="prompts x samples"):
        best_of_n(np.zeros((2, 3)), np.zeros((2, 4)), 1)


def test_curve_rises_with_a_score_that_knows():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(60, 17))
    curve = best_of_n_curve(gold + rng.normal(size=gold.shape), gold)
    means = [curve[str(n)]["gold"]["mean"] for n in (1, 2, 4, 8, 16)]
    assert means == sorted(means)
    assert curve["1"]["win_rate"]["rate"] == 0.5
    assert curve["16"]["kl"] == pytest.approx(1.835, abs=1e-3)


def test_gate_passes_a_score_that_knows_and_stops_one_that_does_not():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(200, 17))
    knows = gate(gold + rng.normal(size=gold.shape), gold)
    guesses = gate(rng.normal(size=gold.shape), gold)
    assert knows.passed
    assert not guesses.passed
    assert set(knows.to_json()["best_of"]) == {"4", "16"}


def test_gate_stops_a_score_that_gains_at_4_and_loses_at_16():
    # The highest scores are wrong: each prompt has one bad sample that scores best of all.
    rng = np.random.default_rng(1)
    gold = rng.normal(size=(300, 17))
    scores = gold.copy()
    gold[np.arange(300), scores.argmax(1)] = -5
    result = gate(scores, gold)
    assert result.best_of[4].rate > 0.5
    assert result.best_of[16].rate < 0.5
    assert not result.passed


def _response(prompt_id, number):
    return Response(
        id=f"{prompt_id}-{number}",
        prompt_id=prompt_id,
        prompt="Hi",
        response=str(number),
        model="sft",
    )


def test_pick_best_keeps_the_highest_of_the_first_n():
    responses = [_response(p, i) for p in ("a", "b") for i in range(3)]
    picked = pick_best(responses, [1, 5, 9, 7, 2, 0], 2, "best_of_2")
    assert [(r.prompt_id, r.response, r.model) for r in picked] == [
        ("a", "1", "best_of_2"),
        ("b", "0", "best_of_2"),
    ]
    with pytest.raises(ValueError, match="prompt a has 3 responses, fewer than 4"):
        pick_best(responses, [0] * 6, 4, "best_of_4")
