"""Quantiles against scipy, and Wilson's interval worked by hand."""

import pytest
from scipy import stats

from understudy.numerics.intervals import normal_quantile, student_quantile, wilson


@pytest.mark.parametrize("freedom", [1.0, 1.5, 2.0, 3.3, 11.0, 70.2, 1e4, float("inf")])
def test_student_quantile_against_scipy(freedom):
    assert student_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=5e-5)


def test_wilsons_interval_of_8_in_10_and_of_all():
    z = 2.0  # centre (0.8 + 4 / 20) / 1.4, half sqrt(0.4 * 0.16 + 0.04) / 1.4
    low, high = wilson(0.8, 10, z)
    assert (low, high) == pytest.approx((1 / 1.4 - 0.104**0.5 / 1.4, 1 / 1.4 + 0.104**0.5 / 1.4))
    assert wilson(1.0, 10)[1] == 1.0
    assert wilson(1.0, 10)[0] == pytest.approx(1 / (1 + normal_quantile() ** 2 / 10))
