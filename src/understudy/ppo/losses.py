"""PPO's two losses, as means over response tokens.

Shapes: N response tokens of a micro-batch. `num_tokens` is the number of response tokens in the
whole minibatch: each loss and metric is a sum divided by it, so micro-batches add up to the
minibatch's mean for any split.
"""

import torch
from torch import Tensor

Metrics = dict[str, Tensor]


def policy_loss(
    new_logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    *,
    clip: float,
    num_tokens: int,
) -> tuple[Tensor, Metrics]:
    """The clipped surrogate: mean of max(-A * ratio, -A * clip(ratio, 1 - clip, 1 + clip))."""
    log_ratio_N = new_logprobs_N - old_logprobs_N
    ratio_N = log_ratio_N.exp()
    clipped_N = ratio_N.clamp(1 - clip, 1 + clip)
    plain_loss_N, clipped_loss_N = -advantages_N * ratio_N, -advantages_N * clipped_N
    loss = torch.maximum(plain_loss_N, clipped_loss_N).sum() / num_tokens
    with torch.no_grad():
        metrics = {
            "policy_loss": loss.detach(),
            "ratio": ratio_N.sum() / num_tokens,
            "clip_fraction": (clipped_loss_N > plain_loss_N).sum() / num_tokens,
            "approx_kl": ((ratio_N - 1) - log_ratio_N).sum() / num_tokens,
        }
    return loss, metrics


def value_loss(
    new_values_N: Tensor,
    old_values_N: Tensor,
    returns_N: Tensor,
    *,
    value_clip: float | None,
    num_tokens: int,
) -> tuple[Tensor, Metrics]:
    """Half the squared error; with `value_clip`, the larger of it and the same of the clipped
    value.

    The clipped value is the new one kept within `value_clip` of the rollout's (LHP, NP).
    """
    errors_N = (new_values_N - returns_N) ** 2
    share = torch.zeros_like(errors_N).sum()
    if value_clip is not None:
        clipped_N = old_values_N + (new_values_N - old_values_N).clamp(-value_clip, value_clip)
        clipped_errors_N = (clipped_N - returns_N) ** 2
        # Without the first condition, rounding of a value that is not clipped would count.
        is_clipped_N = (new_values_N - old_values_N).abs() > value_clip
        share = (is_clipped_N & (clipped_errors_N > errors_N)).sum() / num_tokens
        errors_N = torch.maximum(errors_N, clipped_errors_N)
    loss = 0.5 * errors_N.sum() / num_tokens
    return loss, {"value_loss": loss.detach(), "value_clip_fraction": share.detach()}
