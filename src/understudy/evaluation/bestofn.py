"""Best-of-n (draw n responses, keep the one that the reward model scores highest), and the gate
before PPO.

From N samples per prompt, every n <= N is estimated without bias by counting, for each sample, the
subsets of n in which it would be kept (Nakano et al. 2021, App. I). The KL of best-of-n from the
model is at most log n - (n - 1) / n (Stiennon et al. 2020, App. G.3; exact when no two samples are
equal).

Legend: P prompts, N samples of each prompt.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.evaluation.compare import by_prompt
from understudy.evaluation.statistics import Interval, mean_interval, win_rate
from understudy.records import Response

Array = NDArray[np.float64]
SIZES = (1, 2, 4, 8, 16)


def kl_bound(n: int) -> float:
    """Upper bound in nats on the KL between best-of-n and the model it samples from."""
    return math.log(n) - (n - 1) / n


def keep_weights(num_samples: int, n: int) -> Array:
    """Chance that best-of-n of a random subset keeps rank k (0 is the lowest score).

    C(k, n - 1) / C(N, n): the other n - 1 in its subset must rank below it.
    """
    if not 1 <= n <= num_samples:
        raise ValueError(f"best-of-{n} needs at least {n} samples per prompt, not {num_samples}")
    subsets = math.comb(num_samples, n)
    return np.array([math.comb(k, n - 1) / subsets for k in range(num_samples)])


def best_of_n(scores_PN: ArrayLike, values_PN: ArrayLike, n: int) -> Array:
    """values_P: for each prompt, the expected value (gold, say) of the sample that is kept."""
    scores, values = _same_shape(scores_PN, values_PN)
    return _by_rank(scores, values) @ keep_weights(scores.shape[1], n)


def best_of_n_wins(scores_PN: ArrayLike, gold_PN: ArrayLike, n: int) -> Array:
    """outcomes_P: how often best-of-n beats another sample of the same model by gold, ties half.

    Averaged over all subsets of n and all samples outside them. With n = N no sample is left
    outside, and the opponent is another sample of the subset: too favourable by at most 1/(n + 1),
    and unbiased if the score is uninformative.
    """
    scores, gold = _same_shape(scores_PN, gold_PN)
    ranked_PN = _by_rank(scores, gold)
    chance_NN = _pick_and_opponent(scores.shape[1], n)
    return np.array([float((_wins(row) * chance_NN).sum()) for row in ranked_PN])


def best_of_n_curve(
    scores_PN: ArrayLike,
    gold_PN: ArrayLike,
    sizes: Sequence[int] = SIZES,
    prompts: Sequence[Hashable] | None = None,
    users: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, Any]]:
    """n -> {gold, win_rate (over one sample), kl}, gold and win_rate as intervals in JSON form."""
    curve = {}
    for n in sizes:
        gold = mean_interval(best_of_n(scores_PN, gold_PN, n), prompts, users)
        wins = win_rate(best_of_n_wins(scores_PN, gold_PN, n), prompts, users)
        if n == 1:  # one sample against another: 50% by symmetry, without measurement
            wins = Interval(0.5, 0.5, 0.5, wins.n)
        curve[str(n)] = {
            "gold": gold.to_json("mean"),
            "win_rate": wins.to_json(),
            "kl": kl_bound(n),
        }
    return curve


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a reward model may train a policy."""

    best_of: Mapping[int, Interval]
    """n -> win rate of best-of-n over best-of-1 by the gold judge."""
    passed: bool
    """Whether every interval lies above 0.5."""

    def to_json(self) -> dict[str, Any]:
        """As in results.json."""
        best_of = {str(n): interval.to_json() for n, interval in self.best_of.items()}
        return {"best_of": best_of, "passed": self.passed}


def gate(
    scores_PN: ArrayLike,
    gold_PN: ArrayLike,
    prompts: Sequence[Hashable] | None = None,
    users: Sequence[Hashable] | None = None,
    sizes: Sequence[int] = (4, 16),
) -> Gate:
    """Passed if best-of-4 and best-of-16 by the score both beat one sample by the gold judge, with
    intervals above 50%.

    Give N = 17 samples or more for an exactly unbiased best-of-16.
    """
    best_of = {n: win_rate(best_of_n_wins(scores_PN, gold_PN, n), prompts, users) for n in sizes}
    return Gate(best_of, all(interval.low > 0.5 for interval in best_of.values()))


def pick_best(
    responses: Sequence[Response], scores: Sequence[float], n: int, name: str
) -> list[Response]:
    """The highest-scoring of each prompt's first n responses, as model `name`."""
    score_of = {r.id: score for r, score in zip(responses, scores, strict=True)}
    if len(score_of) != len(responses):
        raise ValueError("response ids must be unique to pick the best of them")
    picked = []
    for prompt_id, drawn in by_prompt(responses).items():
        if len(drawn) < n:
            raise ValueError(f"prompt {prompt_id} has {len(drawn)} responses, fewer than {n}")
        best = max(drawn[:n], key=lambda response: score_of[response.id])
        picked.append(_renamed(best, name))
    return picked


def _renamed(response: Response, name: str) -> Response:
    row = response.to_json() | {"model": name, "id": f"{response.id}/{name}"}
    return Response.from_json(row)


def _same_shape(scores: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    scores_PN, values_PN = np.asarray(scores, float), np.asarray(values, float)
    if scores_PN.ndim != 2 or scores_PN.shape != values_PN.shape:
        raise ValueError(
            f"scores are {scores_PN.shape} and values {values_PN.shape}; "
            "both must be prompts x samples"
        )
    return scores_PN, values_PN


def _by_rank(scores_PN: Array, values_PN: Array) -> Array:
    """Values in ascending order of score; equal scores stay in the (random) order of sampling."""
    order = np.argsort(scores_PN, axis=1, kind="stable")
    return np.take_along_axis(values_PN, order, axis=1)


def _pick_and_opponent(num_samples: int, n: int) -> Array:
    """Joint chance that rank k is kept from a random subset of n and rank j is the opponent."""
    if num_samples < 2:
        raise ValueError("one sample per prompt has no opponent; draw at least 2")
    if n == num_samples:
        chance = np.zeros((num_samples, num_samples))
        chance[-1, :-1] = 1 / (num_samples - 1)
        return chance
    keep_weights(num_samples, n)
    total = math.comb(num_samples, n) * (num_samples - n)
    below, above = (
        np.array([math.comb(max(k - less, 0), n - 1) for k in range(num_samples)]) / total
        for less in (1, 0)
    )
    chance = np.where(np.tri(num_samples, k=-1, dtype=bool), below[:, None], above[:, None])
    np.fill_diagonal(chance, 0.0)
    return chance


def _wins(gold_N: Array) -> Array:
    """outcome_NN[k, j]: 1, 0.5 or 0 of sample k against sample j."""
    difference = gold_N[:, None] - gold_N[None, :]
    return (np.sign(np.where(np.abs(difference) < 1e-9, 0.0, difference)) + 1) / 2
