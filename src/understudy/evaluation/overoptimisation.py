"""How far a reward model may be optimised: the curves of Gao et al. (2022, arXiv:2210.10760).

With d the square root of the KL from the start, in nats, the gain from optimisation follows

    best-of-n    R(d) = d (a - b d)
    RL           R(d) = d (a - b log d)

both for the score that is optimised (the proxy) and for what it stands for (gold). `a` says how
fast gains come at the start, `b` how much further optimisation loses. Both forms are linear in a
and b, so least squares fits them; intervals are percentiles over resampled users. Departure: gains
are in standard deviations of the start's responses to one prompt, since the scores of reward models
of different sizes differ in scale.

Legend: P prompts, N samples of each, S points of a curve, U users, B resamples.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.evaluation.bestofn import best_of_n, kl_bound
from understudy.evaluation.statistics import Interval, cluster_index, mean_interval, win_rate

Array = NDArray[np.float64]
FORMS: Mapping[str, Callable[[Array], Array]] = {
    "best_of_n": lambda d: -d * d,
    "rl": lambda d: -d * np.log(np.where(d > 0, d, 1.0)),
}
"""By form: the factor of b in R(d); the factor of a is d."""
RESAMPLES = 1000


def fit(kl_S: Array, gain_S: Array, form: str) -> Array:
    """(a, b) of a curve by least squares; NaN unless at least two points moved from the start."""
    d_S = np.sqrt(np.maximum(kl_S, 0.0))
    design_S2 = np.stack([d_S, FORMS[form](d_S)], axis=1)
    if np.linalg.matrix_rank(design_S2) < 2:
        return np.full(2, np.nan)
    return np.asarray(np.linalg.lstsq(design_S2, gain_S, rcond=None)[0])


def fitted(kl_S: Array, a: float, b: float, form: str) -> Array:
    """The gain that a fitted curve has at each KL."""
    d_S = np.sqrt(np.maximum(kl_S, 0.0))
    return a * d_S + b * FORMS[form](d_S)


def curve(
    kl_PS: Array, gains: Mapping[str, Array], form: str, users: Sequence[Hashable], seed: int
) -> dict[str, Any]:
    """A curve in JSON form: its points, and (a, b) of each of `gains` (name -> gain_PS).

    A point's gains have intervals clustered by user. Resampled users bring their own KL, so that
    the intervals of a and b also cover the uncertainty of an estimated KL.
    """
    user_P = cluster_index(len(users), None, users)
    num_users = int(user_P.max()) + 1
    rng = np.random.default_rng(seed)
    times_BU = rng.multinomial(num_users, np.full(num_users, 1 / num_users), RESAMPLES)
    weight_BP = times_BU[:, user_P] / times_BU[:, user_P].sum(axis=1, keepdims=True)
    kl_S, kl_BS = kl_PS.mean(axis=0), weight_BP @ kl_PS
    points = [
        {
            "kl": float(kl_S[s]),
            **{k: mean_interval(g[:, s], None, users).to_json("mean") for k, g in gains.items()},
        }
        for s in range(len(kl_S))
    ]
    fits = {}
    for name, gain_PS in gains.items():
        ab_2 = fit(kl_S, gain_PS.mean(axis=0), form)
        pairs = zip(kl_BS, weight_BP @ gain_PS, strict=True)
        drawn_B2 = np.array([fit(drawn_kl_S, gain_S, form) for drawn_kl_S, gain_S in pairs])
        fits[name] = {letter: _with_ends(ab_2[i], drawn_B2[:, i]) for i, letter in enumerate("ab")}
    return {"form": form, "points": points, "fits": fits}


def _with_ends(estimate: float, drawn_B: Array) -> dict[str, float | None]:
    known_B = drawn_B[np.isfinite(drawn_B)]
    if not np.isfinite(estimate) or not known_B.size:
        return {"mean": None, "low": None, "high": None}
    low, high = np.percentile(known_B, [2.5, 97.5])
    return {"mean": float(estimate), "low": float(low), "high": float(high)}


def spread(values_PN: Array) -> float:
    """Standard deviation of the responses to one prompt, over all prompts."""
    return float(np.sqrt(values_PN.var(axis=1, ddof=1).mean()))


def best_of_n_gains(
    scores_PN: Array, gold_PN: Array, sizes: Sequence[int]
) -> tuple[Array, dict[str, Array]]:
    """kl_PS and the gains of the proxy and of gold for each n of best-of-n, over all subsets."""
    kl_PS = np.tile([kl_bound(n) for n in sizes], (len(scores_PN), 1))
    gains = {
        name: np.stack([best_of_n(scores_PN, values_PN, n) for n in sizes], axis=1)
        - values_PN.mean(axis=1, keepdims=True)
        for name, values_PN in (("proxy", scores_PN), ("gold", gold_PN))
    }
    return kl_PS, {
        "proxy": gains["proxy"] / spread(scores_PN),
        "gold": gains["gold"] / spread(gold_PN),
    }


def agreement(scores_PN: Array, gold_PN: Array, users: Sequence[Hashable]) -> Interval:
    """How often the score orders two responses to a prompt as gold does, ties of gold left out;
    every prompt counts once."""
    shares, who = [], []
    for scores_N, gold_N, user in zip(scores_PN, gold_PN, users, strict=True):
        better_NN = gold_N[:, None] - gold_N[None, :] > 1e-9
        if better_NN.any():
            ahead_NN = np.sign(scores_N[:, None] - scores_N[None, :])
            shares.append((ahead_NN[better_NN].mean() + 1) / 2)
            who.append(user)
    return win_rate(shares, None, who)
