"""Responses to prompts under a policy, for the trainers that need no sampling: encoding within the
limits, log-probs, passes of a batch, sums over a batch.

Shapes: T tokens, M response tokens, N responses of all prompts in a pass.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.batching import pad
from understudy.models.chat import check_prompt_length, encode_responses, records_of
from understudy.models.policies import Policy
from understudy.models.sharding import compute
from understudy.models.trunk import device_of
from understudy.records.schema import Demonstration, Feedback, Ranking
from understudy.records.shelf import parts_of
from understudy.training.ranks import ALONE, Ranks

Record = TypeVar("Record", Demonstration, Ranking, Feedback)
Sums = dict[str, Tensor]
"""Terms of the metrics, summed over the pairs or responses of some passes."""


class Responses(Protocol):
    """A prompt with its responses, encoded."""

    @property
    def prompt_ids(self) -> list[int]:
        """The rendered prompt."""

    @property
    def response_ids(self) -> list[list[int]]:
        """Its responses, each with the token that closes it unless it was cut."""


def encode_within(
    tokenizer: Tokenizer,
    records: Iterable[Record],
    responses_of: Callable[[Record], Sequence[str]],
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    context: int | None,
    where: str,
) -> Iterator[tuple[Record, tuple[list[int], list[list[int]], int] | None]]:
    """Each record with (ids of its prompt, ids of its responses, how many of them were cut); None
    for a prompt over the limit. ValueError for any other prompt that exceeds the context."""
    for start, some in parts_of(records):
        name = records_of(where, start)
        responses = [responses_of(record) for record in some]
        encoded = encode_responses(tokenizer, [r.prompt for r in some], responses, name)
        for index, (record, (prompt, ids)) in enumerate(zip(some, encoded, strict=True)):
            if len(prompt) > max_prompt_tokens:
                yield record, None
                continue
            check_prompt_length(record.prompt, prompt, context, name(index))
            room = max_response_tokens if context is None else context - len(prompt)
            limit = min(room, max_response_tokens)
            cut = sum(len(response) > limit for response in ids)
            yield record, (prompt, [response[:limit] for response in ids], cut)


def refuse_held_out(records: Iterable[Ranking | Feedback], where: str) -> None:
    """ValueError for labels by held-out labelers, who only evaluate (s3.4)."""
    for number, record in enumerate(records, start=1):
        if record.labeler_role == "held_out":
            raise ValueError(
                f"{where} record {number}: labeler {record.labeler_id} is held out, and held-out "
                f"labelers' {record.noun}s may only be in valid_data"
            )


def response_logprobs(model: Policy, rows: Sequence[Responses], pad_id: int) -> Tensor:
    """logprob_N: of each response given its prompt, summed over its tokens, in nats."""
    device = device_of(model)
    pairs = [(row.prompt_ids, response) for row in rows for response in row.response_ids]
    ids_BT, mask_BT = pad([[*prompt, *response] for prompt, response in pairs], pad_id)
    counts_BT, _ = pad([[0] * len(prompt) + [1] * len(rest) for prompt, rest in pairs], 0)
    ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
    wanted_BT = counts_BT[:, 1:].bool().to(device)  # token t is predicted at t - 1
    row_M, column_M = wanted_BT.nonzero(as_tuple=True)
    labels_M = ids_BT[:, 1:][wanted_BT]
    logprobs_M, _ = model.logprobs_at(ids_BT, mask_BT, row_M, column_M, labels_M)
    return logprobs_M.new_zeros(len(pairs)).index_add(0, row_M, logprobs_M)


def passes_of(rows: Sequence[Responses], micro_batch_tokens: int) -> list[list[int]]:
    """Indices of prompts in passes of at most `micro_batch_tokens` padded tokens, the longest
    first. A prompt's responses stay in one pass, even if they exceed the limit."""
    longest = [len(row.prompt_ids) + max(map(len, row.response_ids)) for row in rows]
    passes: list[list[int]] = []
    count = 0
    for index in sorted(range(len(rows)), key=lambda i: (-longest[i], i)):
        size = len(rows[index].response_ids)
        count += size
        if not passes or count * longest[passes[-1][0]] > micro_batch_tokens:
            passes.append([])
            count = size
        passes[-1].append(index)
    return passes


@torch.no_grad()
def known_logprobs(
    model: Policy,
    rows: Sequence[Responses],
    pad_id: int,
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> list[Tensor]:
    """`response_logprobs` of each prompt's responses, without gradients: in fp64 on the CPU, the
    same on all ranks."""
    sizes = [len(row.response_ids) for row in rows]
    found = [torch.zeros(size, dtype=torch.float64) for size in sizes]
    groups = passes_of(rows, micro_batch_tokens)
    for share in ranks.deal(len(groups)):
        indices = groups[share.number]
        some = [rows[i] for i in indices]
        logprobs_N = compute(model.model, response_logprobs, model, some, pad_id)
        if share.counts:
            parts = logprobs_N.cpu().double().split([sizes[i] for i in indices])
            for index, part in zip(indices, parts, strict=True):
                found[index] = part
    flat = ranks.sum([float(x) for part in found for x in part])
    of_all = torch.tensor(flat, dtype=torch.float64)
    return list(of_all.split(sizes)) if rows else []


def summed(
    model: Policy,
    rows: Sequence[Responses],
    of_pass: Callable[[list[int]], tuple[Tensor, Sums]],
    micro_batch_tokens: int,
    ranks: Ranks = ALONE,
) -> Sums:
    """The sums over a batch, in fp64. If gradients are enabled, also adds the gradient of the
    batch's loss.

    `of_pass` gives a pass's share of the batch's loss, and its sums, from the indices of its rows.
    Several ranks divide the passes among them.
    """
    groups = passes_of(rows, micro_batch_tokens)
    total: Sums = {}
    for share in ranks.deal(len(groups)):
        loss, sums = compute(model.model, of_pass, groups[share.number])
        if torch.is_grad_enabled():
            (loss * share.weight).backward()
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value.double() * share.weight
    return {name: ranks.sum_tensor(value) for name, value in total.items()}
