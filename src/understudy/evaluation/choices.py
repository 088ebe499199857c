"""Log-likelihoods of continuations, reading each context once for all its continuations.

    pairs = [encode_pair(tokenizer, "Fish live in", text) for text in (" the sea", " the sky")]
    [score.logprob / score.num_tokens for score in score_pairs(model, pairs)]

Tokens follow lm-evaluation-harness: context and continuation are encoded together, whitespace at
the end of the context belongs to the continuation, and the tokens after the context count.

Shapes: B rows, T tokens, N scored tokens, D hidden size, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import logits_of
from understudy.models.batching import by_token_budget, pad, tree_mask
from understudy.models.policies import Policy
from understudy.models.scalar import shares_prefix, worth_sharing
from understudy.models.trunk import context_length, device_of

Ids = tuple[int, ...]

_GROUP_TOKENS = 2048
"""Most tokens in a row of a context and its continuations; the mask grows with the square."""
_HEAD_ROWS = 256
"""Positions whose logits are computed at a time."""


@dataclass(frozen=True, slots=True)
class Score:
    """Likelihood of a continuation after its context: `Score(-3.2, 4, False)`."""

    logprob: float
    """Sum over its tokens, in nats."""
    num_tokens: int
    """Number of tokens that count."""
    is_greedy: bool
    """Whether greedy decoding would produce the continuation."""


def encode(tokenizer: Tokenizer, text: str, *, special: bool = True) -> list[int]:
    """Token ids of a text as a base model reads it: BOS where the tokenizer adds one, never EOS."""
    bos = tokenizer.bos_token
    special = special and not (bos and text.startswith(bos))
    ids: list[int] = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    ends = special and ids and ids[-1] == tokenizer.eos_token_id
    return ids[:-1] if ends and not text.endswith(str(tokenizer.eos_token)) else ids


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[Ids, Ids]:
    """(context's ids, continuation's ids). An empty context is the BOS token, or else EOS.

    ValueError if the continuation has no tokens of its own.
    """
    if not context:
        start = tokenizer.bos_token_id
        start = int(tokenizer.eos_token_id if start is None else start)
        ids = tuple(encode(tokenizer, continuation, special=False))
        pair = (ids[:1], ids[1:]) if ids[:1] == (start,) else ((start,), ids)
    else:
        stem = context.rstrip() or context
        whole = encode(tokenizer, context + continuation)
        ids = tuple(encode(tokenizer, stem))
        pair = ids, tuple(whole[len(ids) :])
    if not pair[0] or not pair[1]:
        raise ValueError(f"choice {continuation!r} has no tokens after {context[-60:]!r}")
    return pair


@torch.no_grad()
def score_pairs(
    model: Policy,
    pairs: Sequence[tuple[Ids, Ids]],
    batch_tokens: int = 8192,
    on_scored: Callable[[int], None] | None = None,
) -> list[Score]:
    """The score of each (context, continuation), independent of the rest of the batch.

    A context that is too long loses its beginning, as in the harness. Where the architecture allows
    it (`shares_prefix`), continuations of one context share a row under a mask. `on_scored`
    receives the number of pairs scored after each pass. ValueError for a continuation that does not
    fit the model by itself.
    """
    cut = _cut(pairs, context_length(model))
    scores: list[Score | None] = [None] * len(pairs)
    num_scored, training = 0, model.training
    model.eval()
    rows = list(_rows(model, cut))
    lengths = [len(context) + sum(len(cut[i][1]) - 1 for i in row) for context, row in rows]
    for group in by_token_budget(lengths, batch_tokens):
        members = [rows[i] for i in group]
        found = _score_rows(
            model, [(context, [cut[i][1] for i in row]) for context, row in members]
        )
        for index, score in zip((i for _, row in members for i in row), found, strict=True):
            scores[index] = score
        num_scored += len(found)
        if on_scored is not None:
            on_scored(num_scored)
    model.train(training)
    return [score for score in scores if score is not None]


def _cut(pairs: Sequence[tuple[Ids, Ids]], room: int | None) -> list[tuple[Ids, Ids]]:
    """The pairs, with contexts cut from the left to fit. The last token is predicted but not read,
    so it takes no room."""
    if room is None:
        return list(pairs)
    cut = []
    for context, continuation in pairs:
        left = room + 1 - len(continuation)
        if left < 1:
            raise ValueError(
                f"a choice has {len(continuation)} tokens, but the model's context is {room}"
            )
        cut.append((context[-left:], continuation))
    return cut


def _rows(model: Policy, pairs: Sequence[tuple[Ids, Ids]]) -> Iterable[tuple[Ids, list[int]]]:
    """(context, indices of the pairs that share it) for each row."""
    by_context: dict[Ids, list[int]] = {}
    for index, (context, _) in enumerate(pairs):
        by_context.setdefault(context, []).append(index)
    for context, indices in by_context.items():
        extra = [len(pairs[i][1]) - 1 for i in indices]
        if len(indices) > 1 and shares_prefix(model) and worth_sharing(model, len(context), extra):
            row: list[int] = []
            length = len(context)
            for i, more in zip(indices, extra, strict=True):
                if row and length + more > max(_GROUP_TOKENS, len(context)):
                    yield context, row
                    row, length = [], len(context)
                row, length = [*row, i], length + more
            yield context, row
        else:
            yield from ((context, [i]) for i in indices)


def _score_rows(model: Policy, rows: Sequence[tuple[Ids, Sequence[Ids]]]) -> list[Score]:
    """Scores of all rows' continuations in order, in one pass."""
    ids, owners, positions = [], [], []
    where: list[tuple[int, int]] = []  # (row, column) whose hidden state predicts a scored token
    labels: list[int] = []
    counts: list[int] = []
    for number, (context, continuations) in enumerate(rows):
        row, owner, position = [*context], [0] * len(context), [*range(len(context))]
        for order, continuation in enumerate(continuations, start=1):
            start = len(row)
            read = continuation[:-1]
            where.append((number, len(context) - 1))
            where += [(number, start + offset) for offset in range(len(read))]
            labels += continuation
            counts.append(len(continuation))
            row += read
            owner += [order] * len(read)
            position += range(len(context), len(context) + len(read))
        ids.append(row)
        owners.append(owner)
        positions.append(position)
    device = device_of(model)
    ids_BT, mask_BT = pad(ids, 0)
    row_N, column_N = torch.tensor(where, device=device).unbind(-1)
    if max(len(continuations) for _, continuations in rows) == 1:
        hidden_ND = model.hidden_at(ids_BT.to(device), mask_BT.to(device), row_N, column_N)
    else:
        mask = tree_mask(pad(owners, -1)[0].to(device), next(model.parameters()).dtype)
        position_BT = pad(positions, 0)[0].to(device)
        hidden_ND = model.hidden_at(ids_BT.to(device), mask, row_N, column_N, position_BT)
    logprob_N, greedy_N = _read_off(model, hidden_ND, torch.tensor(labels, device=device))
    ends = zip(logprob_N.split(counts), greedy_N.split(counts), counts, strict=True)
    return [Score(float(x.double().sum()), n, bool(g.all())) for x, g, n in ends]


def _read_off(model: Policy, hidden_ND: Tensor, label_N: Tensor) -> tuple[Tensor, Tensor]:
    """(log-probability of each label, whether it is the likeliest token)."""
    head = model.head
    logprobs, greedy = [], []
    for part_ND, part_N in zip(hidden_ND.split(_HEAD_ROWS), label_N.split(_HEAD_ROWS), strict=True):
        logits_NV = logits_of(head, part_ND)
        picked_N = logits_NV.gather(1, part_N.unsqueeze(1)).squeeze(1)
        logprobs.append(picked_N - logits_NV.logsumexp(-1))
        greedy.append(logits_NV.argmax(-1) == part_N)
    return torch.cat(logprobs), torch.cat(greedy)
