"""The best possible results: the optimum policy in closed form, and the reward model's Bayes
accuracy.

Legend: S draws, K responses.

On a finite set of responses the KL-regularised objective (Eq. 2 with gamma 0) is maximised by
`pi*(y) = pi_ref(y) exp(r(y) / beta) / Z`. A reward model that knew every labeler's weights and
noise would choose from each pair the response that the pool of labelers prefers more often; its
accuracy is the ceiling."""

from collections.abc import Iterable, Sequence

import numpy as np

from understudy.records import Prompt, Response
from understudy.world.judge import prompt_text
from understudy.world.labelers import SimulatedLabeler
from understudy.world.tasks import parse


def optimal_logprobs(ref_logprobs_N: np.ndarray, rewards_N: np.ndarray, beta: float) -> np.ndarray:
    """log pi* over N enumerated responses; `ref_logprobs_N` need not be normalised.

    Example: two responses that the reference finds equally likely, rewards 0 and beta*log(3),
    give 1/4 and 3/4.
    """
    logits = np.asarray(ref_logprobs_N, dtype=np.float64) + np.asarray(rewards_N) / beta
    highest = logits.max()
    return logits - highest - np.log(np.exp(logits - highest).sum())


def kl_divergence(logprobs_N: np.ndarray, other_logprobs_N: np.ndarray) -> float:
    """KL(p || q) in nats for two distributions over the same N responses."""
    probs = np.exp(logprobs_N)
    return float((probs * (np.asarray(logprobs_N) - np.asarray(other_logprobs_N))).sum())


def ranked(
    items: Iterable[tuple[Prompt, Sequence[Response]]],
) -> list[tuple[Prompt, list[Response]]]:
    """The prompts that labelers rank: clear ones with at least two different responses."""
    shown = ((prompt, _distinct(responses)) for prompt, responses in items)
    return [
        (prompt, responses)
        for prompt, responses in shown
        if len(responses) > 1 and parse(prompt_text(prompt.prompt)) is not None
    ]


def _distinct(responses: Sequence[Response]) -> list[Response]:
    found: dict[str, Response] = {}
    for response in responses:
        found.setdefault(response.response.strip(), response)
    return list(found.values())


def preference_counts(
    labelers: Sequence[SimulatedLabeler],
    prompt: Prompt,
    responses: Sequence[Response],
    rng: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """`counts[l, i, j]`: in how many of `draws` fresh rankings by labeler l response i is in a
    better tier than j."""
    checks = [
        labelers[0].judge.check(prompt.prompt, response.response, response.finished)
        for response in responses
    ]
    counts = np.zeros((len(labelers), len(responses), len(responses)))
    for labeler, count in zip(labelers, counts, strict=True):
        means_K = np.array([labeler.mean_utility(check) for check in checks])
        noise_SK = rng.normal(0.0, labeler.noise, (draws, len(responses)))
        tier_SK = tiers_of_draws(means_K + noise_SK, labeler.tie_threshold)
        count += (tier_SK[:, :, None] < tier_SK[:, None, :]).sum(0)
    return counts


def tiers_of_draws(utilities_SK: np.ndarray, threshold: float) -> np.ndarray:
    """`tiers_of` for S draws at once: the tier of each of K responses, 0 for the best."""
    order_SK = np.argsort(-utilities_SK, axis=1)
    sorted_SK = np.take_along_axis(utilities_SK, order_SK, axis=1)
    best_S, tier_S = sorted_SK[:, 0].copy(), np.zeros(len(sorted_SK), dtype=int)
    tiers_SK = np.zeros(sorted_SK.shape, dtype=int)
    for place in range(1, sorted_SK.shape[1]):
        new_S = best_S - sorted_SK[:, place] >= threshold
        best_S[new_S] = sorted_SK[new_S, place]
        tier_S += new_S
        np.put_along_axis(tiers_SK, order_SK[:, place : place + 1], tier_S[:, None], axis=1)
    return tiers_SK


def bayes_accuracy(
    labelers: Sequence[SimulatedLabeler],
    items: Sequence[tuple[Prompt, Sequence[Response]]],
    seed: int = 0,
    draws: int = 200,
) -> float:
    """Accuracy on labelers' strict preferences of a reward model that knows the labelers' weights
    and noise, over the prompts that labelers rank (`ranked`).

    Estimated by drawing fresh rankings; a pair's weight is how often it is not tied. Half of the
    draws choose the side and the other half score it, so that the estimate is not biased upwards by
    its own noise.
    """
    rng = np.random.default_rng([seed, 1])
    right = total = 0.0
    for prompt, responses in ranked(items):
        chosen = preference_counts(labelers, prompt, responses, rng, draws).sum(0)
        scored = preference_counts(labelers, prompt, responses, rng, draws).sum(0)
        better = np.where(chosen > chosen.T, 1.0, np.where(chosen == chosen.T, 0.5, 0.0))
        right += float((scored * better).sum())
        total += float(scored.sum())
    if total == 0:
        raise ValueError("bayes_accuracy: every pair is tied; give it responses that differ")
    return right / total


def pool_agreement(
    labelers: Sequence[SimulatedLabeler],
    items: Sequence[tuple[Prompt, Sequence[Response]]],
    seed: int = 0,
    draws: int = 100,
) -> float:
    """How often two different labelers agree on a pair that neither ties, over the prompts that
    labelers rank (`ranked`): the true agreement."""
    rng = np.random.default_rng([seed, 2])
    agree = total = 0.0
    for prompt, responses in ranked(items):
        each = preference_counts(labelers, prompt, responses, rng, draws)
        pooled = each.sum(0)
        same = pooled**2 - (each**2).sum(0)
        opposite = pooled * pooled.T - (each * each.transpose(0, 2, 1)).sum(0)
        agree += float(same.sum())
        total += float(same.sum() + opposite.sum())
    return agree / total
