"""Wilson's interval of a rate, and the quantiles of Student's t and of the normal distribution."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np


def normal_quantile(level: float = 0.95) -> float:
    """The two-sided quantile of the normal distribution: 1.96 for 95%."""
    return NormalDist().inv_cdf((1 + level) / 2)


@lru_cache(maxsize=4096)
def student_quantile(level: float, freedom: float) -> float:
    """The two-sided quantile of Student's t, by integrating its density over
    x = sqrt(freedom) tan(angle)."""
    if freedom > 1e5:
        return normal_quantile(level)
    edge = min(math.pi / 2, 12 / math.sqrt(freedom))
    angles = np.linspace(-edge, edge, 8001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp((1 + level) / 2, mass / mass[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)


def wilson(rate: float, num: float, quantile: float | None = None) -> tuple[float, float]:
    """Wilson's interval of a rate seen in `num` independent observations; `num` may be an effective
    number.

    95% unless another `quantile` is given. Contains the rate and stays within 0..1.
    """
    z = normal_quantile() if quantile is None else quantile
    shrink = z * z / num
    centre = (rate + shrink / 2) / (1 + shrink)
    half = math.sqrt(shrink * rate * (1 - rate) + shrink**2 / 4) / (1 + shrink)
    return min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate)
