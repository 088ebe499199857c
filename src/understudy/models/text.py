"""Plain text for pretraining and for the pretraining mix: read, pack into rows, loss per token."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.policies import Policy
from understudy.models.trunk import device_of
from understudy.records.reading import Found, read_found, say


def read_text(path: Path | str) -> list[str]:
    """Documents: from a .txt file with blank lines between them, or the "text" of each row of any
    other file or named data set."""
    found = Found()
    texts = [text.strip() for _, text in read_found(path, str, found) if text.strip()]
    say(found, path)
    if not texts:
        raise ValueError(f"{path} has no text; it must hold at least one document")
    return texts


def pack_rows(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tensor:
    """ids_NT: the documents one after the other, each ended by EOS, cut into rows of `length`
    tokens. EOS written in a document becomes the EOS token, as in files that join documents with
    it; the names of other special tokens stay text.

    A remainder that fills no row is dropped, unless there is no full row: then the only row is as
    long as the text.
    """
    eos = str(tokenizer.eos_token)
    encoded = tokenizer(
        [part for text in texts for part in text.removesuffix(eos).split(eos)],
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    flat = [i for row in encoded["input_ids"] for i in (*row, tokenizer.eos_token_id)]
    length = min(length, len(flat))
    num_rows = len(flat) // length
    return torch.tensor(flat[: num_rows * length]).view(num_rows, length)


def lm_loss(model: Policy, ids_BT: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats over all predicted tokens of full rows (no padding)."""
    ones_BT = torch.ones_like(ids_BT)
    row_N, column_N = ones_BT[:, 1:].nonzero(as_tuple=True)
    logprobs_N, _ = model.logprobs_at(ids_BT, ones_BT, row_N, column_N, ids_BT[:, 1:].flatten())
    return -logprobs_N.mean()


@torch.no_grad()
def text_loss(
    model: Policy,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    length: int = 256,
    batch_tokens: int = 8192,
) -> float:
    """Mean negative log-likelihood per predicted token of the packed texts, in nats, without
    dropout."""
    ids_NT = pack_rows(tokenizer, texts, length).to(device_of(model))
    if ids_NT.shape[1] < 2:
        raise ValueError("the text has fewer than 2 tokens; there is nothing to predict")
    training = model.training
    model.eval()
    rows = max(1, batch_tokens // ids_NT.shape[1])
    total = sum(float(lm_loss(model, part)) * len(part) for part in ids_NT.split(rows))
    model.train(training)
    return total / len(ids_NT)
