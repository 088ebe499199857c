"""The batch of benchmarks/trl_losses.py as episodes of ours."""

import torch
from benchmarks.trl_losses import PROMPTS, REFERENCE, RESPONSES, SAMPLER, SCORES, sine_model

from understudy.engines.generation import Generation
from understudy.models.policies import Policy
from understudy.rl.episodes import Episodes
from understudy.rl.update import Loss, policy_gradient
from understudy.training.optim import gradient_norm

SCORES_GK = torch.tensor(SCORES).view(-1, 2)
ROWS = range(len(PROMPTS))


def recorded_episodes() -> Episodes:
    """Measured under the policy that sampled and under the reference."""
    answers = [Generation(ids, [0.0] * len(ids), True) for ids in RESPONSES]
    episodes = Episodes.sampled(PROMPTS, answers, 1, torch.device("cpu"))
    for phase, grid in (
        (SAMPLER, episodes.old_logprobs_BR),
        (REFERENCE, episodes.ref_logprobs_BR),
    ):
        model = Policy(sine_model(phase), [2])
        for batch in episodes.passes(ROWS, 16):
            with torch.no_grad():
                logprobs_N, _ = model.logprobs_at(*batch.where, batch.labels_N)
            episodes.put(grid, batch, logprobs_N)
    return episodes


def recorded_step(episodes: Episodes, loss_of: Loss) -> tuple[dict[str, float], float]:
    """(metrics, gradient norm) of the policy on the batch, in several passes."""
    policy = Policy(sine_model(0.0), [2])
    metrics = policy_gradient(
        policy,
        episodes,
        episodes.passes(ROWS, 16),
        loss_of,
        num_tokens=episodes.num_tokens(ROWS),
        temperature=1.0,
    )
    return {k: float(v) for k, v in metrics.items()}, gradient_norm(policy.parameters())
