"""RLOO's advantage and loss (Ahmadian et al. 2024, s2.2).

Shapes: B episodes, G prompts, K responses to each; N response tokens of a pass, b its rows.
"""

import torch
from torch import Tensor

Metrics = dict[str, Tensor]


def leave_one_out(rewards_GK: Tensor) -> Tensor:
    """Each response's reward minus the mean reward of the other responses to the same prompt."""
    others = rewards_GK.shape[1] - 1
    return rewards_GK - (rewards_GK.sum(dim=1, keepdim=True) - rewards_GK) / others


def rloo_loss(
    new_logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    row_N: Tensor,
    advantages_b: Tensor,
    *,
    clip: float,
    num_rows: int,
) -> tuple[Tensor, Metrics]:
    """A pass's share of the mean, over `num_rows` responses, of max(-A * ratio, -A * clipped).

    The ratio is that of the whole response. Under the weights that sampled, the ratio is 1 and the
    gradient is REINFORCE's: -A * grad log p(response).
    """
    zeros_b = new_logprobs_N.new_zeros(len(advantages_b))
    log_ratio_b = zeros_b.index_add(0, row_N, new_logprobs_N - old_logprobs_N)
    ratio_b = log_ratio_b.exp()
    plain_b = -advantages_b * ratio_b
    clipped_b = -advantages_b * ratio_b.clamp(1 - clip, 1 + clip)
    loss = torch.maximum(plain_b, clipped_b).sum() / num_rows
    with torch.no_grad():
        metrics = {
            "policy_loss": loss.detach(),
            "clip_fraction": (clipped_b > plain_b).sum() / num_rows,
        }
    return loss, metrics
