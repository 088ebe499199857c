"""Hand-worked intervals, references from scipy, and measured coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from understudy.evaluation.statistics import (
    Interval,
    bradley_terry,
    calibration_error,
    degrees_of_freedom,
    mean_interval,
    paired_difference,
    proportion,
    student_quantile,
    win_rate,
)


def test_wilson_interval_of_8_in_10():
    # p = .8, z = 1.96: centre (.8 + .19207) / 1.38415 = .71674, half .22658.
    interval = proportion(8, 10)
    assert interval.rate == 0.8
    assert interval.low == pytest.approx(0.4902, abs=1e-4)
    assert interval.high == pytest.approx(0.9433, abs=1e-4)


def test_proportion_at_the_ends_stays_inside():
    assert proportion(0, 20).low == 0.0
    assert proportion(0, 20).high == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)
    assert proportion(20, 20).high == 1.0


def test_proportion_refuses_no_observations():
    with pytest.raises(ValueError, match="0 of 0"):
        proportion(0, 0)


def test_win_rate_counts_a_tie_as_half():
    assert win_rate([1, 0.5, 0, 1]).rate == 0.625
    assert win_rate([1, 0.5, 0, 1]).n == 4


def test_mean_interval_without_clusters_is_the_t_interval():
    values = [1.0, 4.0, 2.0, 7.0, 3.5]
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-4)


def test_variance_is_the_delete_one_cluster_jackknife():
    values, users = np.array([1.0, 2, 3, 4, 7, 0]), ["a", "a", "a", "b", "b", "c"]
    interval = mean_interval(values, users=users)
    kept = [np.mean([v for v, u in zip(values, users, strict=True) if u != out]) for out in "abc"]
    variance = 2 / 3 * np.sum((np.array(kept) - np.mean(kept)) ** 2)
    quantile = stats.t.ppf(0.975, degrees_of_freedom(np.array([3.0, 2, 1])))
    assert interval.high - interval.rate == pytest.approx(quantile * math.sqrt(variance), rel=1e-4)


def test_degrees_of_freedom_are_clusters_less_one_when_equal():
    assert degrees_of_freedom(np.full(10, 3.0)) == pytest.approx(9)


def test_degrees_of_freedom_against_the_matrix_form():
    sizes = np.array([3.0, 9, 1, 5])
    scale = np.sqrt(1 / (1 - sizes / sizes.sum()))
    matrix = np.diag(sizes) - np.outer(sizes, sizes) / sizes.sum()
    matrix *= np.outer(scale, scale)
    expected = np.trace(matrix) ** 2 / np.sum(matrix**2)
    assert degrees_of_freedom(sizes) == pytest.approx(expected)


@pytest.mark.parametrize("freedom", [1.0, 1.5, 2.0, 3.3, 11.0, 70.2, 1e4])
def test_student_quantile_against_scipy(freedom):
    expected = stats.t.ppf(0.975, freedom)
    assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=5e-5)


def test_repeating_labels_of_a_prompt_does_not_narrow_the_interval():
    outcomes = [1, 0, 1, 1, 0, 1, 0, 1]
    prompts = list("abcdefgh")
    once = win_rate(outcomes, prompts)
    thrice = win_rate(outcomes * 3, prompts * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert thrice.n == 24


def test_order_of_observations_does_not_matter():
    rng = np.random.default_rng(0)
    outcomes, users = rng.choice([0, 0.5, 1], 50), rng.integers(0, 9, 50)
    shuffled = rng.permutation(50)
    first, second = (
        win_rate(outcomes, users=users),
        win_rate(outcomes[shuffled], users=users[shuffled]),
    )
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_swapping_sides_mirrors_the_interval():
    outcomes = np.array([1, 1, 0.5, 0, 1, 1, 0.5])
    here, there = win_rate(outcomes), win_rate(1 - outcomes)
    assert (there.rate, there.low, there.high) == pytest.approx(
        (1 - here.rate, 1 - here.high, 1 - here.low)
    )


def test_all_ties_keep_an_interval_as_wide_as_independent_clusters():
    interval = win_rate([0.5] * 40, prompts=list(range(40)))
    assert interval.rate == 0.5
    assert interval.low < 0.37
    assert interval.high > 0.63


def test_a_single_cluster_says_nothing():
    assert win_rate([1, 1, 0], users=["u", "u", "u"]) == Interval(2 / 3, 0.0, 1.0, 3)
    assert mean_interval([2.0, 3.0], users=["u", "u"]).to_json("mean") == {
        "mean": 2.5,
        "low": None,
        "high": None,
        "n": 2,
    }


def test_a_prompt_of_two_users_is_refused():
    with pytest.raises(ValueError, match=r"'p' belongs to users 'a' and 'b'"):
        win_rate([1, 0], prompts=["p", "p"], users=["a", "b"])


def test_values_outside_the_range_are_refused():
    with pytest.raises(ValueError, match="within 0"):
        win_rate([2.0])
    with pytest.raises(ValueError, match="no observations"):
        win_rate([])


def test_paired_difference_removes_what_is_shared():
    prompt_effect = np.array([0.0, 10, 20, 30])
    interval = paired_difference(prompt_effect + np.array([1, 2, 1, 2]), prompt_effect)
    assert interval.rate == 1.5
    assert interval.low > 0
    with pytest.raises(ValueError, match="4 and 3"):
        paired_difference([1, 2, 3, 4], [1, 2, 3])


def test_bradley_terry_of_two_models_is_the_log_odds():
    strength = bradley_terry({("a", "b"): 3, ("b", "a"): 1})
    assert strength["a"] - strength["b"] == pytest.approx(math.log(3))
    assert strength["a"] + strength["b"] == pytest.approx(0)


def test_bradley_terry_joins_models_through_a_common_baseline():
    # 80% against sft and 20% against sft: a / b odds = 4 * 4.
    wins = {("a", "sft"): 8, ("sft", "a"): 2, ("b", "sft"): 2, ("sft", "b"): 8}
    strength = bradley_terry(wins)
    assert strength["a"] - strength["b"] == pytest.approx(math.log(16), abs=1e-6)


def test_bradley_terry_names_the_model_that_never_lost():
    with pytest.raises(ValueError, match="a never lost"):
        bradley_terry({("a", "b"): 3, ("b", "c"): 1, ("c", "b"): 1, ("b", "a"): 0})


def test_calibration_error_by_hand():
    # bin .2-.3: two of mean .25, outcome .5 -> gap .5 in sum; bin .9-1: two of .95, both won -> .1.
    error = calibration_error([0.25, 0.25, 0.95, 0.95], [1, 0, 1, 1])
    assert error == pytest.approx((0.5 + 0.1) / 4)


def _simulate(rng, sizes, rate, spread, tie_share):
    """Outcomes whose expected win rate is known: a tie share, and user effects on the rest."""
    centre = stats.norm.ppf(rate) * math.sqrt(1 + spread**2)
    chance = stats.norm.cdf(centre + rng.normal(0, spread, len(sizes)))
    users = np.repeat(np.arange(len(sizes)), sizes)
    outcomes = (rng.random(users.size) < chance[users]).astype(float)
    outcomes[rng.random(users.size) < tie_share] = 0.5
    return outcomes, users


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "spread", "tie_share"),
    [(0.5, 0.0, 0.3), (0.65, 0.5, 0.2), (0.1, 0.5, 0.05), (0.97, 0.3, 0.0)],
)
def test_win_rate_covers_the_analytic_rate_at_its_level(rate, spread, tie_share):
    rng = np.random.default_rng(0)
    sizes = np.maximum(1, np.round(140 / np.arange(1, 41)).astype(int))
    expected = rate * (1 - tie_share) + 0.5 * tie_share
    covered = 0
    for _ in range(1000):
        outcomes, users = _simulate(rng, sizes, rate, spread, tie_share)
        interval = win_rate(outcomes, users=users)
        covered += interval.low <= expected <= interval.high
    # 95% less 3 standard errors of 1000 trials; above it the interval may err on the wide side.
    assert 0.93 <= covered / 1000 <= 0.98
