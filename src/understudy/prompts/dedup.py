"""Duplicates: the same text, a long common prefix, or (optionally) nearly the same words.

The paper drops prompts that share a long common prefix and does not publish how long (s3.2, A.3).
Here two prompts are prefix duplicates when they begin with the same text of at least `prefix_chars`
characters that makes up at least `prefix_share` of the longer one. A template with a different tail
counts as a duplicate only if the tail is short.

A `DuplicateFinder` checks prompts one by one, in order of precedence, and compares each with those
that it kept. It remembers hashes, not texts.
"""

import unicodedata
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple

from understudy.records import Conversation

GRID = 1.1
"""Prefixes are compared at lengths that grow by this factor, so `prefix_share` holds to within
10%."""
MAX_CHARS = 100_000
"""Longest prefix compared."""


class Duplicate(NamedTuple):
    """Why a prompt was dropped, and the id of the one it repeats."""

    reason: Literal["exact", "prefix", "near"]
    of: str


def normalize(text: str) -> str:
    """Text for comparison: Unicode NFKC, case folded, white space runs as one space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def comparison_texts(prompt: Conversation) -> tuple[str, str]:
    """The text to compare as a whole, and the text to compare by prefix.

    The second leaves system turns out: all users of one application share them.
    """
    if isinstance(prompt, str):
        text = normalize(prompt)
        return text, text
    turns = [(turn.role, f"{turn.role}: {normalize(turn.content)}") for turn in prompt]
    return (
        "\n".join(text for _, text in turns),
        "\n".join(text for role, text in turns if role != "system"),
    )


class DuplicateFinder:
    """Finds prompts that repeat an earlier one, as the module's docstring defines it.

    >>> finder = DuplicateFinder(prefix_chars=0, prefix_share=0.8, near_duplicates=None)
    >>> finder.check("p1", "Name a prime."), finder.check("p2", "name  a prime.")
    (None, Duplicate(reason='exact', of='p1'))
    """

    def __init__(
        self, *, prefix_chars: int, prefix_share: float, near_duplicates: float | None
    ) -> None:
        self._lengths = _grid(prefix_chars) if prefix_chars else ()
        self._share = prefix_share
        self._near = None
        if near_duplicates is not None:
            from understudy.prompts.minhash import NearDuplicates  # needs NumPy

            self._near = NearDuplicates(near_duplicates)
        self._ids: list[str] = []
        self._exact: dict[int, int] = {}
        self._prefixes: dict[int, int] = {}

    def check(
        self, prompt_id: str, prompt: Conversation, scope: str = "", *, exact_only: bool = False
    ) -> Duplicate | None:
        """The prompt that `prompt` repeats; None for a new one, which is then remembered.

        Prompts of different `scope` are never duplicates of each other. With `exact_only` only the
        same text counts: the examples of a few-shot prompt are meant to have much in common.
        """
        whole, body = comparison_texts(prompt)
        key = _hash(scope, whole)
        if (first := self._exact.get(key)) is not None:
            return Duplicate("exact", self._ids[first])
        if exact_only:
            self._exact[key] = len(self._ids)
            self._ids.append(prompt_id)
            return None
        prefixes = [_hash(scope, body[:length]) for length in self._prefix_lengths(len(body))]
        for prefix in prefixes:
            if (first := self._prefixes.get(prefix)) is not None:
                return Duplicate("prefix", self._ids[first])
        number = len(self._ids)
        if self._near and (first := self._near.check(body, number, scope)) is not None:
            return Duplicate("near", self._ids[first])
        self._ids.append(prompt_id)
        self._exact[key] = number
        self._prefixes.update(dict.fromkeys(prefixes, number))
        return None

    def _prefix_lengths(self, length: int) -> Iterator[int]:
        """The grid's lengths at which a prefix covers at least `prefix_share` of this text.

        Both prompts of a pair are hashed at their own lengths, so a shared hash covers
        `prefix_share` of both.
        """
        shortest = self._share * length
        return (point for point in self._lengths if shortest <= point <= length)


def _grid(first: int) -> tuple[int, ...]:
    lengths, length = [], first
    while length <= MAX_CHARS:
        lengths.append(length)
        length = max(length + 1, int(length * GRID))
    return tuple(lengths)


def _hash(scope: str, text: str) -> int:
    """A 64-bit hash: among a million prompts, a collision has probability 3e-8."""
    data = f"{scope}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest())
