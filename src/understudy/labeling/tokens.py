"""The length of a text: in the model's tokens if its tokenizer.json is available, else in words.

Uses `tokenizers`, which needs no torch. The count treats scripts without spaces fairly: each
Chinese, Japanese or Yi character counts as a word, and so do four Thai, Lao, Tibetan, Burmese,
Khmer, Tai or Javanese characters.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_ONE = "\u3040-\u312f\u3400-\ua48f\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_FOUR = "\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\ua980-\ua9df"
_PIECES = re.compile(f"[{_ONE}]|[{_FOUR}]{{1,4}}|[^\\s{_ONE}{_FOUR}]+")


def num_words(text: str) -> int:
    """The number of words; `static/lib/fold.js` counts the same way.

    >>> num_words("Two words, and more."), num_words("\u4f60\u597d\uff0c\u4e16\u754c")
    (4, 4)
    """
    return sum(any(map(str.isalnum, piece)) for piece in _PIECES.findall(text))


@dataclass(frozen=True)
class Length:
    """Counts a text's length and names the unit: `Length(limit=1024)`."""

    limit: int = 1024
    """Longest response (C: responses are capped at 1k tokens)."""
    tokenizer: Path | None = None
    """A tokenizer.json, or the folder of a model that has one."""

    @property
    def unit(self) -> str:
        """tokens or words."""
        return "words" if self.tokenizer is None else "tokens"

    def count(self, text: str) -> int:
        """The length of a text."""
        if self._tokenizer is None:
            return num_words(text)
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            return None
        from tokenizers import Tokenizer

        path = self.tokenizer
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"{path} does not exist; name a tokenizer.json or a model's folder")
        return Tokenizer.from_file(str(path))

    def check(self) -> None:
        """ValueError if the tokenizer cannot be read."""
        self.count("")
