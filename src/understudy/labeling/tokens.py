"""How long a text is: in the model's tokens if its tokenizer.json is at hand, else in words.

Uses `tokenizers`, which needs no torch.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Length:
    """Counts, and says in which unit: `Length(limit=1024)`."""

    limit: int = 1024
    """Longest answer (C: responses are capped at 1k tokens)."""
    tokenizer: Path | None = None
    """A tokenizer.json, or the folder of a model that has one."""

    @property
    def unit(self) -> str:
        """tokens or words."""
        return "words" if self.tokenizer is None else "tokens"

    def count(self, text: str) -> int:
        """How long a text is."""
        if self._tokenizer is None:
            return len(text.split())
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
