"""The fits of Gao et al.'s curves."""

import numpy as np
import pytest

from understudy.evaluation.bestofn import kl_bound
from understudy.evaluation.overoptimisation import (
    agreement,
    best_of_n_gains,
    curve,
    fit,
    fitted,
    spread,
)
from understudy.evaluation.readings import gains_reading
from understudy.evaluation.study_sections import study_section


def test_the_forms_by_hand():
    four = np.array([0.0, 1.0, 4.0])
    assert fitted(four, 3.0, 0.5, "best_of_n") == pytest.approx([0.0, 2.5, 4.0])
    assert fitted(four, 3.0, 0.5, "rl") == pytest.approx([0.0, 3.0, 6.0 - np.log(2)])


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
def test_a_fit_returns_the_curve_that_made_the_points(form):
    kl_S = np.array([0.0, 0.1, 0.9, 3.0, 9.0])
    assert fit(kl_S, fitted(kl_S, 1.2, 0.4, form), form) == pytest.approx([1.2, 0.4])


def test_too_few_points_have_no_fit():
    found = curve(np.zeros((4, 2)), {"gold": np.ones((4, 2))}, "rl", list("abcd"), 0)
    assert found["fits"]["gold"]["a"] == {"mean": None, "low": None, "high": None}


def test_the_intervals_of_a_and_b_cover_95_percent_of_the_time():
    """Users differ in their gain, and their KL is estimated."""
    rng = np.random.default_rng(0)
    kl_S = np.array([0.2, 1.0, 3.0, 8.0])
    truth_2 = np.array([1.0, 0.4])
    covered = []
    for repeat in range(60):
        user_P = np.repeat(np.arange(40), 2)
        noise_PS = rng.normal(size=(40, 1))[user_P] + rng.normal(size=(80, 4))
        gain_PS = fitted(kl_S, *truth_2, "rl") + noise_PS
        kl_PS = kl_S * rng.gamma(20.0, 1 / 20, size=(80, 4))
        found = curve(kl_PS, {"gold": gain_PS}, "rl", list(user_P), repeat)["fits"]["gold"]
        covered.append(
            [
                found[letter]["low"] <= true <= found[letter]["high"]
                for letter, true in zip("ab", truth_2, strict=True)
            ]
        )
    share = np.mean(covered)
    assert 0.88 <= share <= 0.99, share


def test_best_of_n_of_a_perfect_score_gains_what_gold_gains_and_a_random_one_nothing():
    rng = np.random.default_rng(1)
    gold_PN = rng.normal(size=(400, 16)) + 3 * rng.normal(size=(400, 1))
    kl_PS, gains = best_of_n_gains(10 * gold_PN + 2, gold_PN, [1, 4, 16])
    assert kl_PS[0] == pytest.approx([kl_bound(n) for n in (1, 4, 16)])
    assert gains["proxy"] == pytest.approx(gains["gold"])
    # The largest of 4 and of 16 normal values: 1.03 and 1.77 standard deviations.
    assert gains["gold"].mean(axis=0) == pytest.approx([0.0, 1.03, 1.77], abs=0.06)
    _, gains = best_of_n_gains(rng.normal(size=(400, 16)), gold_PN, [1, 4, 16])
    assert gains["gold"].mean(axis=0) == pytest.approx([0.0, 0.0, 0.0], abs=0.12)
    assert spread(gold_PN) == pytest.approx(1.0, abs=0.03)


def test_agreement_by_hand():
    """Pairs that gold ties do not count, pairs that the score ties count half."""
    gold_PN = np.array([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    scores_PN = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
    found = agreement(scores_PN, gold_PN, ["u", "v"])
    assert (found.rate, found.n) == (pytest.approx(2.5 / 3), 1)


def test_the_report_shows_every_curve_and_says_where_gold_falls():
    rng = np.random.default_rng(2)
    kl_S = np.array([0.0, 1.0, 4.0, 16.0])
    users = list(range(50))

    def made(b):
        noise_PS = 0.05 * rng.normal(size=(50, 4))
        gains = {
            "gold": fitted(kl_S, 1.0, b, "rl") + noise_PS,
            "proxy": fitted(kl_S, 1.0, 0.0, "rl") + noise_PS,
        }
        found = curve(np.tile(kl_S, (50, 1)), gains, "rl", users, 0)
        return found | {"agreement": {"rate": 0.7, "low": 0.6, "high": 0.8, "n": 50}}

    gains = {"PPO": {"125 rankings": made(1.0), "1,000 rankings": made(0.1)}}
    said = gains_reading(gains)
    assert "PPO: 1,000 rankings gains most gold at the end" in said
    assert "125 rankings falls after a KL of 1.0 nats" in said
    assert "1,000 rankings falls" not in said
    study = {"panels": {"Gold judge": {"x": {"rate": 0.5}}}, "gains": gains}
    html = study_section({"study": study})
    assert said in html
    assert "70% (60 to 80), n = 50" in html
    assert html.count("<svg") == 2
