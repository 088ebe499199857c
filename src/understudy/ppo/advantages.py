"""Generalised advantage estimation (Schulman et al. 2016), over one response at a time.

Shapes: B episodes, R response tokens. The value at column t is that of the state *before* token t:
the prompt and the tokens before it. After the last token the episode ends, and its value is 0.
"""

import torch
from torch import Tensor

from understudy.models.ops import masked_var, whiten

Metrics = dict[str, Tensor]


def gae(
    rewards_BR: Tensor,
    values_BR: Tensor,
    mask_BR: Tensor,
    *,
    discount: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """(advantages_BR, returns_BR), 0 outside the mask.

    delta_t = r_t + discount * V_(t+1) - V_t;  A_t = delta_t + discount * lambda * A_(t+1);
    the return is A_t + V_t, the critic's target.
    """
    mask_BR = mask_BR.to(rewards_BR.dtype)
    rewards_BR, values_BR = rewards_BR * mask_BR, values_BR * mask_BR
    advantages_BR = torch.zeros_like(rewards_BR)
    next_value_B = next_advantage_B = torch.zeros_like(rewards_BR[:, 0])
    for t in reversed(range(rewards_BR.shape[1])):
        delta_B = rewards_BR[:, t] + discount * next_value_B - values_BR[:, t]
        next_advantage_B = delta_B + discount * gae_lambda * next_advantage_B
        # Everything past the end is masked to 0, so the recursion starts at each row's last token.
        next_advantage_B = next_advantage_B * mask_BR[:, t]
        next_value_B = values_BR[:, t]
        advantages_BR[:, t] = next_advantage_B
    return advantages_BR, advantages_BR + values_BR


def advantages_and_returns(
    rewards_BR: Tensor,
    values_BR: Tensor,
    mask_BR: Tensor,
    *,
    discount: float,
    gae_lambda: float,
    whiten_rewards: bool,
    whiten_advantages: bool,
) -> tuple[Tensor, Tensor, Metrics]:
    """(advantages_BR, returns_BR, metrics), with the predecessors' whitening.

    Whitening is over all tokens of the iteration (NP), not within each minibatch (LHP), so that the
    split into minibatches does not change the advantages. Variances are biased, as in LHP.
    """
    if whiten_rewards:
        rewards_BR = whiten(rewards_BR, mask_BR, shift_mean=False)
    advantages_BR, returns_BR = gae(
        rewards_BR, values_BR, mask_BR, discount=discount, gae_lambda=gae_lambda
    )
    metrics = {"value_explained_variance": explained_variance(values_BR, returns_BR, mask_BR)}
    if whiten_advantages:
        advantages_BR = whiten(advantages_BR, mask_BR)
    return advantages_BR, returns_BR, metrics


def explained_variance(values_BR: Tensor, returns_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """1 - var(returns - values) / var(returns): 1 for a perfect critic, 0 for a constant one."""
    total = masked_var(returns_BR, mask_BR)
    left = masked_var(returns_BR - values_BR, mask_BR)
    return torch.where(total > 0, 1 - left / total.clamp(min=1e-12), torch.zeros_like(total))
