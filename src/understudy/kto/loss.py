"""The KTO loss (Ethayarajh et al. 2024, eq. 6 to 8) over single responses.

A response's reward is log(policy / reference) of its tokens, in nats. Its value is a sigmoid of
beta times the distance from the reference point z0, an estimate of KL(policy, reference); the loss
is the response's weight, the highest value, minus its value.

Shapes: N responses.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.kto.data import Judged
from understudy.models.policies import Policy
from understudy.models.trunk import device_of
from understudy.training.ranks import ALONE, Ranks
from understudy.training.responses import Sums, response_logprobs, summed


def reference_point(logprobs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """z0: the mean log(policy / reference) of mismatched pairs, at least 0 (eq. 8); 0 without
    pairs."""
    if not logprobs:
        return 0.0
    return max(0.0, float((torch.cat(list(logprobs)) - torch.cat(list(reference))).mean()))


def kto_losses(
    rewards_N: Tensor,
    desirable_N: Tensor,
    z0: float,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> Tensor:
    """loss_N = lambda - lambda * sigmoid(+-beta * (reward - z0)), + for desirable responses (eq. 6
    and 7); between 0 and lambda."""
    weight_N = torch.where(desirable_N, desirable_weight, undesirable_weight)
    gain_N = torch.where(desirable_N, 1.0, -1.0) * beta * (rewards_N - z0)
    return weight_N * torch.sigmoid(-gain_N)


def batch_sums(
    model: Policy,
    rows: Sequence[Judged],
    reference: Sequence[Tensor],
    z0: float,
    pad_id: int,
    weights: tuple[float, float, float],
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Sums:
    """The sums over all responses of a batch. Also adds the gradient of the batch's loss, in which
    z0 is a constant. `weights` are beta, lambda_D and lambda_U."""
    device = device_of(model)

    def of_pass(indices: list[int]) -> tuple[Tensor, Sums]:
        some = [rows[i] for i in indices]
        reference_N = torch.cat([reference[i] for i in indices]).to(device)
        desirable_N = torch.tensor([row.desirable for row in some], device=device)
        rewards_N = response_logprobs(model, some, pad_id).double() - reference_N
        loss = kto_losses(rewards_N, desirable_N, z0, *weights).sum() / len(rows)
        with torch.no_grad():
            sums = {
                "loss": loss.detach(),
                "desirable": (weights[0] * rewards_N * desirable_N).sum(),
                "undesirable": (weights[0] * rewards_N * ~desirable_N).sum(),
            }
        return loss, sums

    return summed(model, rows, of_pass, micro_batch_tokens, ranks)


def accuracy(rewards_N: Tensor, desirable_N: Tensor) -> float:
    """Share of pairs of a desirable and an undesirable response in which the desirable one has the
    higher reward; a tie counts half."""
    good, bad = rewards_N[desirable_N], rewards_N[~desirable_N].sort().values
    below = torch.searchsorted(bad, good) + torch.searchsorted(bad, good, right=True)
    return float(below.sum()) / (2 * len(good) * len(bad))
