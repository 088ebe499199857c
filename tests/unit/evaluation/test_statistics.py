"""Hand-worked intervals, references from scipy, and measured coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from understudy.evaluation.statistics import (
    Interval,
    degrees_of_freedom,
    mean_interval,
    paired_difference,
    post_stratified,
    proportion,
    win_rate,
    win_rate_per_user,
)
from understudy.numerics.intervals import wilson


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
    sizes = np.arange(8.0, 31)
    residuals = np.eye(sizes.size) - np.outer(sizes, np.ones(sizes.size)) / sizes.sum()
    residuals /= (1 - sizes / sizes.sum())[:, None]
    matrix = residuals @ np.diag(sizes**3) @ residuals.T
    expected = np.trace(matrix) ** 2 / np.sum(matrix**2)
    assert degrees_of_freedom(sizes) == pytest.approx(expected)


def test_degrees_of_freedom_stay_at_two_where_one_user_is_nearly_everything():
    assert degrees_of_freedom(np.array([500.0, 1, 1, 2])) == 2.0


def test_each_user_counts_once_in_the_mean_per_user():
    outcomes, users = [1, 1, 1, 1, 0, 0.5], ["a", "a", "a", "a", "b", "c"]
    per_user = win_rate_per_user(outcomes, users)
    assert per_user == win_rate([1, 0, 0.5])
    assert (per_user.rate, per_user.n) == (0.5, 3)
    assert win_rate(outcomes, users=users).rate == 0.75


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


# Coverage: how often the interval holds the rate from which the outcomes are drawn


ZIPF = np.maximum(1, np.round(140 / np.arange(1, 41)).astype(int))
TIES = 0.2


def _outcomes(rng, sizes, chance, tie_share=TIES):
    """Outcomes of users who win with `chance`, ties apart, and whose each is."""
    users = np.repeat(np.arange(len(sizes)), sizes)
    outcomes = (rng.random(users.size) < chance[users]).astype(float)
    outcomes[rng.random(users.size) < tie_share] = 0.5
    return outcomes, users


def test_strata_count_by_their_shares():
    """By hand: 3/4 of the first stratum and none of the second, in the ratio 1 to 3."""
    outcomes, strata = [1, 1, 0, 1, 0, 0], ["chat"] * 4 + ["list"] * 2
    found = post_stratified(outcomes, strata, {"chat": 1, "list": 3, "story": 5})
    assert found.rate == pytest.approx(0.75 / 4)
    assert found.n == 6
    with pytest.raises(ValueError, match="stratum 'list' has no share above 0"):
        post_stratified(outcomes, strata, {"chat": 1})


def test_the_variance_over_strata_is_the_jackknife_over_users():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    strata = rng.choice(list("ab"), users.size)
    outcomes = (rng.random(users.size) < 0.6).astype(float)
    shares = {"a": 0.2, "b": 0.8}
    found = post_stratified(outcomes, strata, shares, None, users)

    def mean(kept):
        return sum(w * outcomes[kept & (strata == h)].mean() for h, w in shares.items())

    assert found.rate == pytest.approx(mean(users >= 0))
    left = np.array([mean(users != out) for out in range(12)])
    variance = 11 / 12 * np.sum((left - left.mean()) ** 2)
    weight = np.array([shares[h] / np.mean(strata == h) for h in strata])
    quantile = stats.t.ppf(0.975, degrees_of_freedom(np.bincount(users, weights=weight)))
    low, high = wilson(found.rate, found.rate * (1 - found.rate) / variance, quantile)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)


def test_one_stratum_is_the_win_rate_itself():
    outcomes, users = [1, 0, 1, 1, 0.5, 0, 1], list("aabbccd")
    assert post_stratified(outcomes, ["x"] * 7, {"x": 2}, None, users) == win_rate(
        outcomes, users=users
    )
    assert post_stratified([1, 1, 1], ["x"] * 3, {"x": 1}).low == win_rate([1, 1, 1]).low


def test_a_stratum_of_one_user_widens_the_interval():
    """It could be anything: half of the weight rests on it, and a standard error of a quarter."""
    outcomes, strata = [1, 0] * 20 + [1, 1], ["many"] * 40 + ["one"] * 2
    users = [*range(40), "u", "u"]
    found = post_stratified(outcomes, strata, {"many": 1, "one": 1}, None, users)
    assert found.rate == 0.75
    assert found.low < 0.4


def _coverage(sizes, kind_of, rate_of, shares, trials=1000):
    """How often the interval covers the rate at the shares, where users differ and send several
    kinds of prompt or one; the kinds' numbers in the sample are not as their shares."""
    rng = np.random.default_rng(3)
    rates = stats.norm.ppf(np.array(rate_of))
    expected = float(np.array(shares) @ rate_of)
    users = np.repeat(np.arange(sizes.size), sizes)
    covered = 0
    for _ in range(trials):
        kinds = kind_of(rng, users)
        chance = stats.norm.cdf(
            rates[kinds] * math.sqrt(1.25) + rng.normal(0, 0.5, sizes.size)[users]
        )
        outcomes = (rng.random(users.size) < chance).astype(float)
        found = post_stratified(outcomes, kinds.tolist(), dict(enumerate(shares)), None, users)
        covered += found.low <= expected <= found.high
    return covered / trials


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [np.full(60, 5), ZIPF], ids=["equal", "heavy"])
@pytest.mark.parametrize("apart", [False, True], ids=["within", "between"])
def test_the_interval_at_the_users_shares_covers(sizes, apart):
    """A kind that is 8% of the prompts is half of the users' share."""
    drawn = [0.6, 0.32, 0.08]

    def kind_of(rng, users):
        if apart:  # each user sends one kind; some users of each
            owner = np.concatenate([np.arange(3).repeat(3), rng.choice(3, sizes.size - 9, p=drawn)])
            return rng.permutation(owner)[users]
        return rng.choice(3, users.size, p=drawn)

    covered = _coverage(sizes, kind_of, [0.7, 0.5, 0.3], [0.2, 0.3, 0.5])
    assert covered >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "spread", "tie_share"),
    [(0.5, 0.0, 0.3), (0.65, 0.5, 0.2), (0.1, 0.5, 0.05), (0.97, 0.3, 0.0)],
)
def test_both_means_cover_where_users_differ_whatever_their_number_of_prompts(
    rate, spread, tie_share
):
    rng = np.random.default_rng(0)
    expected = rate * (1 - tie_share) + 0.5 * tie_share
    centre = stats.norm.ppf(rate) * math.sqrt(1 + spread**2)

    def trial():
        chance = stats.norm.cdf(centre + rng.normal(0, spread, ZIPF.size))
        outcomes, users = _outcomes(rng, ZIPF, chance, tie_share)
        found = win_rate(outcomes, users=users), win_rate_per_user(outcomes, users)
        return [i.low <= expected <= i.high for i in found]

    per_prompt, per_user = np.mean([trial() for _ in range(1000)], axis=0)
    # 95% less 3 standard errors of 1000 trials. Wide on purpose per prompt: one of these 40 users
    # sends 23% of the prompts, and the interval allows for a heavy user to be unlike the others.
    assert per_prompt >= 0.93
    assert 0.91 <= per_user <= 0.98


GROWTH = {
    "not at all": lambda sizes, rng: np.full(sizes.size, 0.6),
    "any way": lambda sizes, rng: 0.6 + rng.normal(0, 0.15, sizes.size),
    "with its logarithm": lambda s, rng: 0.45 + 0.08 * np.log(s) + rng.normal(0, 0.1, s.size),
    "by more": lambda s, rng: 0.6 + rng.choice([-0.3, 0.3], s.size) * np.log1p(s) / np.log(200),
}
"""How a user's win rate depends on the number of prompts."""


@pytest.mark.slow
@pytest.mark.parametrize(("num_users", "most"), [(40, 200), (150, 60)])
@pytest.mark.parametrize("growth", GROWTH)
def test_both_means_cover_where_the_preference_grows_with_the_number_of_prompts(
    growth, num_users, most
):
    rng = np.random.default_rng(1)

    def drawn():
        sizes = np.minimum(most, np.ceil(rng.pareto(1.2, num_users) * 3 + 1)).astype(int)
        return sizes, np.clip(GROWTH[growth](sizes, rng), 0.02, 0.98)

    population = [drawn() for _ in range(4000)]
    totals = np.sum([[(s * p).sum(), s.sum(), p.mean()] for s, p in population], axis=0)
    expected = np.array([totals[0] / totals[1], totals[2] / 4000]) * (1 - TIES) + 0.5 * TIES

    def trial():
        outcomes, users = _outcomes(rng, *drawn())
        found = win_rate(outcomes, users=users), win_rate_per_user(outcomes, users)
        return [i.low <= e <= i.high for i, e in zip(found, expected, strict=True)]

    per_prompt, per_user = np.mean([trial() for _ in range(800)], axis=0)
    assert per_prompt >= 0.925  # 95% less 3 standard errors of 800 trials
    assert per_user >= 0.925


@pytest.mark.slow
def test_the_rate_per_prompt_covers_less_where_a_few_users_are_a_world_of_their_own():
    """The condition of the interval per prompt; the one per user needs none."""
    rng = np.random.default_rng(2)

    def drawn():
        sizes = np.minimum(200, np.ceil(rng.pareto(1.2, 40) * 3 + 1)).astype(int)
        return sizes, 0.4 + 0.5 * sizes / 200

    population = [drawn() for _ in range(4000)]
    totals = np.sum([[(s * p).sum(), s.sum(), p.mean()] for s, p in population], axis=0)
    expected = np.array([totals[0] / totals[1], totals[2] / 4000])

    def trial():
        outcomes, users = _outcomes(rng, *drawn(), tie_share=0.0)
        found = win_rate(outcomes, users=users), win_rate_per_user(outcomes, users)
        return [i.low <= e <= i.high for i, e in zip(found, expected, strict=True)]

    per_prompt, per_user = np.mean([trial() for _ in range(800)], axis=0)
    assert 0.75 <= per_prompt <= 0.92
    assert per_user >= 0.925
