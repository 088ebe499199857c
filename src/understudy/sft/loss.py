"""The SFT loss: mean negative log-likelihood over the response tokens of a whole batch.

Shapes: B sequences, T tokens, D hidden size, N response tokens. The head runs only at the N
positions that predict a response token, never at prompt or padding positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.models.batching import by_token_budget, derived_seed, pad
from understudy.models.chat import Example
from understudy.models.policies import Policy
from understudy.models.sharding import compute
from understudy.models.trunk import device_of
from understudy.training.ranks import ALONE, Ranks


def response_nll(
    model: Policy, examples: Sequence[Example], pad_id: int, side: str = "right"
) -> tuple[Tensor, int]:
    """(sum of negative log-likelihoods over the response tokens in nats, number of those
    tokens)."""
    device = device_of(model)
    examples = [example.cut(example.end) for example in examples]  # later tokens carry no loss
    ids_BT, mask_BT = pad([example.input_ids for example in examples], pad_id, side)
    counts_BT, _ = pad([example.loss_mask for example in examples], 0, side)
    ids_BT, mask_BT, counts_BT = ids_BT.to(device), mask_BT.to(device), counts_BT.to(device)
    # Token t is predicted at t - 1, so a row's first token has no prediction.
    wanted_BT = counts_BT[:, 1:].bool() & mask_BT[:, :-1].bool()
    row_N, column_N = wanted_BT.nonzero(as_tuple=True)
    labels_N = ids_BT[:, 1:][wanted_BT]
    logprobs_N, _ = model.logprobs_at(ids_BT, mask_BT, row_N, column_N, labels_N)
    return -logprobs_N.sum(), logprobs_N.numel()


def _micro_batches(model: Policy, examples: Sequence[Example], tokens: int) -> list[list[int]]:
    """As few micro-batches as possible where `hidden_at` handles ragged rows itself."""
    lengths = [len(e.input_ids) for e in examples]
    return by_token_budget(lengths, tokens, overhead=model.pass_overhead(tokens))


def num_targets(examples: Sequence[Example]) -> int:
    """Number of response tokens that the loss counts."""
    return sum(sum(example.loss_mask[1:]) for example in examples)


def backward_batch(
    model: Policy,
    examples: Sequence[Example],
    pad_id: int,
    micro_batch_tokens: int,
    weight: float = 1.0,
    side: str = "right",
    *,
    ranks: Ranks = ALONE,
    dropout_seed: int | None = None,
) -> Tensor:
    """Add `weight` times the gradient of the batch's mean loss; return that loss (not weighted) in
    fp64.

    For any split of the batch and any number of ranks, the sum is divided by the response tokens of
    the whole batch. `dropout_seed` and the number of the pass determine a pass's dropout.
    """
    num_tokens = max(num_targets(examples), 1)
    total = torch.zeros((), dtype=torch.float64, device=device_of(model))
    groups = _micro_batches(model, examples, micro_batch_tokens)
    for share in ranks.deal(len(groups)):
        if dropout_seed is not None:
            torch.manual_seed(derived_seed(dropout_seed, share.number))
        rows = [examples[i] for i in groups[share.number]]
        nll, _ = compute(model.model, response_nll, model, rows, pad_id, side)
        loss = nll / num_tokens * share.weight
        (loss * weight).backward()
        total += loss.detach()
    return ranks.sum_tensor(total)


@torch.no_grad()
def mean_loss(
    model: Policy,
    examples: Sequence[Example],
    pad_id: int,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> float:
    """Mean loss per response token of a whole set, without dropout."""
    training = model.training
    model.eval()
    groups = _micro_batches(model, examples, micro_batch_tokens)
    total, num_tokens = 0.0, 0.0
    for share in ranks.deal(len(groups)):
        rows = [examples[i] for i in groups[share.number]]
        nll, count = compute(model.model, response_nll, model, rows, pad_id)
        total += float(nll) * share.weight
        num_tokens += count * share.counts
    model.train(training)
    total, num_tokens = ranks.sum([total, num_tokens])
    return total / max(num_tokens, 1.0)
