"""The length of a prompt in tokens of a given tokenizer, without loading a model."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

CountTokens = Callable[[Sequence[str]], list[int]]
"""The number of tokens of each text."""

BYTES_PER_TOKEN = 4
"""Bytes per token of English text in a byte-pair encoding of GPT-2's size."""


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """UTF-8 bytes over 4, rounded up: an estimate without a tokenizer."""
    return [math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) for text in texts]


def tokenizer_counter(path: str) -> CountTokens:
    """Counts with `tokenizer.json`, given as the file or a model folder that contains it.

    ValueError if there is none.
    """
    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ValueError(
            f"tokenizer {path!r}: there is no {file}; name a tokenizer.json or a model folder that "
            "has one, or leave the tokenizer out to estimate lengths at 4 bytes per token"
        )
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encoded]

    return count


def within(texts: Sequence[str], limit: int, count: CountTokens) -> list[bool]:
    """Whether each text has at most `limit` tokens.

    An ASCII text never has more tokens than characters, so short ones need no tokenizer.
    """
    unsure = [i for i, text in enumerate(texts) if not text.isascii() or len(text) >= limit]
    fits = [True] * len(texts)
    for i, number in zip(unsure, count([texts[i] for i in unsure]) if unsure else [], strict=True):
        fits[i] = number <= limit
    return fits
