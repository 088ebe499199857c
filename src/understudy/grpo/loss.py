"""GRPO's advantage and loss (Shao et al. 2024, eq. 3 and 4).

Shapes: G prompts, K responses to each; N response tokens of a pass, b its rows.
"""

import torch
from torch import Tensor

Metrics = dict[str, Tensor]

SMALLEST_STD = 1e-4
"""Added to a group's standard deviation, as in TRL; equal scores have advantage 0."""


def group_advantages(scores_GK: Tensor, scale: bool) -> Tensor:
    """Each score minus its group's mean; with `scale`, divided by the group's standard
    deviation."""
    centred_GK = scores_GK - scores_GK.mean(dim=1, keepdim=True)
    if not scale:
        return centred_GK
    return centred_GK / (scores_GK.std(dim=1, keepdim=True) + SMALLEST_STD)


def grpo_loss(
    new_logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    ref_logprobs_N: Tensor,
    row_N: Tensor,
    advantages_b: Tensor,
    *,
    clip: float,
    beta: float,
    num_rows: int,
) -> tuple[Tensor, Metrics]:
    """A pass's share of the loss: the mean over `num_rows` responses of the mean over a response's
    tokens of the clipped surrogate plus beta times the KL estimate r - log r - 1, with r =
    reference / policy.
    """
    ratio_N = (new_logprobs_N - old_logprobs_N).exp()
    advantages_N = advantages_b[row_N]
    plain_N = -advantages_N * ratio_N
    clipped_N = -advantages_N * ratio_N.clamp(1 - clip, 1 + clip)
    log_ratio_N = ref_logprobs_N - new_logprobs_N
    kl_N = log_ratio_N.exp() - log_ratio_N - 1
    # A token's weight in the mean over responses of the mean over tokens.
    lengths_b = torch.bincount(row_N, minlength=len(advantages_b))
    share_N = 1 / (lengths_b[row_N] * num_rows)
    surrogate = (torch.maximum(plain_N, clipped_N) * share_N).sum()
    penalty = (kl_N * share_N).sum()
    with torch.no_grad():
        metrics = {
            "policy_loss": surrogate.detach(),
            "kl_penalty": beta * penalty.detach(),
            "clip_fraction": ((clipped_N > plain_N) * share_N).sum(),
        }
    return surrogate + beta * penalty, metrics
