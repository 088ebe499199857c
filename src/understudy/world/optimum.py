"""What the best possible result is: the optimum policy in closed form, and the reward model's
Bayes accuracy.

For a finite set of responses the KL-regularised objective (Eq. 2 with gamma 0) has the maximiser
`pi*(y) = pi_ref(y) exp(r(y) / beta) / Z`. A reward model that knew every labeler's weights and
noise would call a pair of answers for the side that the pool of labelers picks more often; its
accuracy is the ceiling.
"""

import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from understudy.records import Prompt, Response
from understudy.world.labelers import SimulatedLabeler, tiers_of


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


def preference_counts(
    labelers: Sequence[SimulatedLabeler],
    prompt: Prompt,
    responses: Sequence[Response],
    rng: random.Random,
    draws: int = 20,
) -> np.ndarray:
    """`counts[i, j]`: in how many of `draws` fresh rankings by each labeler i stands in a better
    tier than j."""
    checks = [
        labelers[0].judge.check(prompt.prompt, response.response, response.finished)
        for response in responses
    ]
    counts = np.zeros((len(responses), len(responses)))
    for labeler in labelers:
        means = [labeler.mean_utility(check) for check in checks]
        for _ in range(draws):
            noisy = [mean + rng.gauss(0.0, labeler.noise) for mean in means]
            tier_of = {}
            for tier, members in enumerate(tiers_of(noisy, labeler.tie_threshold)):
                tier_of.update(dict.fromkeys(members, tier))
            for i, j in combinations(range(len(responses)), 2):
                if tier_of[i] < tier_of[j]:
                    counts[i, j] += 1
                elif tier_of[j] < tier_of[i]:
                    counts[j, i] += 1
    return counts


def bayes_accuracy(
    labelers: Sequence[SimulatedLabeler],
    items: Sequence[tuple[Prompt, Sequence[Response]]],
    seed: int = 0,
    draws: int = 20,
) -> float:
    """Accuracy on labelers' strict preferences of a reward model that knows the labelers' weights
    and noise.

    Estimated by drawing fresh rankings; pairs weigh as often as they are not tied. The side is
    chosen on one half of the draws and scored on the other, so that the estimate is not flattered
    by its own noise.
    """
    rng = random.Random(f"bayes-{seed}")
    right = total = 0.0
    for prompt, responses in items:
        chosen = preference_counts(labelers, prompt, responses, rng, draws)
        scored = preference_counts(labelers, prompt, responses, rng, draws)
        better = np.where(chosen > chosen.T, 1.0, np.where(chosen == chosen.T, 0.5, 0.0))
        right += float((scored * better).sum())
        total += float(scored.sum())
    if total == 0:
        raise ValueError("bayes_accuracy: every pair is tied; give it answers that differ")
    return right / total


def pool_agreement(
    labelers: Sequence[SimulatedLabeler],
    items: Sequence[tuple[Prompt, Sequence[Response]]],
    seed: int = 0,
    draws: int = 5,
) -> float:
    """How often two different labelers agree on a pair that neither ties: the planted truth of
    the agreement."""
    rng = random.Random(f"agreement-{seed}")
    agree = total = 0.0
    for prompt, responses in items:
        each = [preference_counts([labeler], prompt, responses, rng, draws) for labeler in labelers]
        pooled = np.sum(each, axis=0)
        same = pooled**2 - np.sum([c**2 for c in each], axis=0)
        opposite = pooled * pooled.T - np.sum([c * c.T for c in each], axis=0)
        agree += float(same.sum())
        total += float(same.sum() + opposite.sum())
    return agree / total
