"""Plain text for pretraining and for the pretraining mix: read, pack into rows, loss per token."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.policies import Policy
from understudy.models.trunk import context_length, device_of
from understudy.records.io import sha256_of
from understudy.records.names import is_packed
from understudy.records.packed import open_packed
from understudy.records.reading import Found, read_found, say

_CHARACTERS = 1 << 20
"""Characters encoded at a time; a longer document is encoded whole."""
_PROBE = "A cat's 12,345 café; naïve\n\n\tΩ 漢字 👍🏽 <|end|> </s>  don't"
"""Text that reveals whether two tokenizers with the same vocabulary divide text differently."""


class Tokens(Protocol):
    """A sequence of token ids, in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class TextRows:
    """Text cut into rows of equal length, each read only when it is needed.

    A remainder that fills no row is dropped, unless there is no full row: then the only row is as
    long as the text.
    """

    tokens: Tokens
    """The documents one after the other, each ended by EOS."""
    longest: int
    """Tokens in a row, if the text has that many."""

    @property
    def length(self) -> int:
        """Tokens in a row."""
        return min(self.longest, len(self.tokens))

    def __len__(self) -> int:
        return len(self.tokens) // self.length

    def take(self, numbers: Iterable[int]) -> Tensor:
        """ids_BT of some rows."""
        length = self.length
        rows = [self.tokens[i * length : (i + 1) * length] for i in numbers]
        return torch.from_numpy(np.stack(rows).astype(np.int64))


def open_rows(path: Path, tokenizer: Tokenizer, model: Policy, length: int) -> TextRows:
    """The rows of a folder of packed text, which stays on disk, or of a text file, which is encoded
    now. Rows fit the model's context. ValueError for text of another tokenizer or with nothing to
    predict."""
    tokens: Tokens
    if is_packed(path):
        tokens = packed = open_packed(path)
        made = packed.facts["tokenizer"]
        if made != {"model": made["model"], **identity(tokenizer)}:
            raise ValueError(
                f"{path} was packed for another tokenizer, that of {made['model']}; pack the text "
                "again with this model: understudy text pack"
            )
    else:
        dtype = dtype_of(tokenizer)
        parts = [np.array(ids, dtype) for _, ids in encoded(tokenizer, iter_text(path))]
        tokens = np.concatenate(parts)
    if len(tokens) < 2:
        raise ValueError(f"{path} has fewer than 2 tokens; there is nothing to predict")
    return TextRows(tokens, min(length, context_length(model) or length))


def identity(tokenizer: Tokenizer) -> dict[str, Any]:
    """What determines a text's ids: the vocabulary, EOS, and how a probe with all kinds of
    characters is divided."""
    probe = _split_special(tokenizer, [_PROBE])
    return {
        "sha256": sha256_of([tokenizer.get_vocab(), tokenizer.eos_token, probe]),
        "vocabulary": len(tokenizer.get_vocab()),
    }


def dtype_of(tokenizer: Tokenizer) -> str:
    """The smallest little-endian integer type that holds every id."""
    return "<u2" if max(tokenizer.get_vocab().values()) < 1 << 16 else "<u4"


def read_text(path: Path | str) -> list[str]:
    """Documents: from a .txt file with blank lines between them, or the "text" of each row of any
    other file or named data set."""
    return list(iter_text(path))


def iter_text(path: Path | str, notes: bool = True) -> Iterator[str]:
    """`read_text` one document at a time; ValueError at the end if there was none. With `notes`,
    says what was left out."""
    found, some = Found(), False
    for _, text in read_found(path, str, found):
        if text := text.strip():
            some = True
            yield text
    if notes:
        say(found, path)
    if not some:
        raise ValueError(f"{path} has no text; it must hold at least one document")


def encoded(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[tuple[int, list[int]]]:
    """(number of documents, their ids with EOS after each), about a million characters at a time.

    EOS written in a document becomes the EOS token, as in files that join documents with it; the
    names of other special tokens stay text.
    """
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _CHARACTERS:
            yield len(held), _ids(tokenizer, held)
            held, size = [], 0
    if held:
        yield len(held), _ids(tokenizer, held)


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    eos = str(tokenizer.eos_token)
    parts = [part for text in texts for part in text.removesuffix(eos).split(eos)]
    rows = _split_special(tokenizer, parts)
    return [i for row in rows for i in (*row, tokenizer.eos_token_id)]


def _split_special(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    encoding = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        verbose=False,
    )
    rows: list[list[int]] = encoding["input_ids"]
    return rows


def pack_rows(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tensor:
    """ids_NT: all rows of texts in memory."""
    ids = [ids for _, ids in encoded(tokenizer, texts)]
    rows = TextRows(np.array(list(chain.from_iterable(ids))), length)
    return rows.take(range(len(rows)))


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
