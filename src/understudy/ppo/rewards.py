"""From scores to rewards (s3.5, C.4): a KL penalty at every token, the score at the last one.

Shapes: B episodes, R response tokens. A mask is 1 at an episode's response tokens, which start at
column 0; its EOS, if there is one, is the last of them.
"""

from torch import Tensor

Metrics = dict[str, Tensor]


def token_rewards(
    scores_B: Tensor,
    old_logprobs_BR: Tensor,
    ref_logprobs_BR: Tensor,
    mask_BR: Tensor,
    *,
    beta: float,
) -> tuple[Tensor, Metrics]:
    """Reward of each token: -beta * log(policy / reference), plus the score at the last token.

    The KL of a response is the sum of its log-ratios: an unbiased estimate that can be negative.
    """
    log_ratio_BR = (old_logprobs_BR - ref_logprobs_BR) * mask_BR
    last_B = mask_BR.long().sum(dim=1, keepdim=True) - 1
    rewards_BR = (-beta * log_ratio_BR).scatter_add(1, last_B, scores_B.unsqueeze(1))
    kl_B = log_ratio_BR.sum(dim=1)
    return rewards_BR, {
        "kl": kl_B.mean(),
        "reward": rewards_BR.sum(dim=1).mean(),
        "score": scores_B.mean(),
    }


def adapted_beta(beta: float, kl: float, *, target: float, horizon: int, episodes: int) -> float:
    """LHP's controller: beta moves by at most a fifth of episodes / horizon towards the target."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * episodes / horizon)
