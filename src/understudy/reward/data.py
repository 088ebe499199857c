"""Demonstrations as the reward model reads them: their mean score is its zero."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.records.schema import Demonstration
from understudy.records.shelf import Shelf
from understudy.training.responses import encode_within


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstrated:
    """Demonstrations as the reward model reads them, and what the length limits did to them."""

    rows: Shelf[tuple[list[int], list[int]]] = field(default_factory=Shelf)
    """(tokens of the prompt, tokens of the response, cut as in training) of those that are used."""
    num_dropped: int = 0
    """Demonstrations left out because their prompt is too long."""
    num_cut: int = 0
    """Responses cut at the limit or at the end of the context."""


def encode_demonstrations(
    tokenizer: Tokenizer,
    demonstrations: Sequence[Demonstration],
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    context: int | None,
    where: str,
) -> Demonstrated:
    """Encode, drop long prompts, cut long responses, as SFT does with the same file.

    ValueError when a prompt exceeds the context or when nothing is left.
    """
    fits = encode_within(
        tokenizer,
        demonstrations,
        lambda demonstration: [demonstration.response],
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        context=context,
        where=where,
    )
    rows: Shelf[tuple[list[int], list[int]]] = Shelf()
    num_cut = 0
    for _, fit in fits:
        if fit is not None:
            prompt, [response], cut = fit
            rows.append((prompt, response))
            num_cut += cut
    num_dropped = len(demonstrations) - len(rows)
    if not rows:
        raise ValueError(
            f"{where}: every prompt is longer than max_prompt_tokens="
            f"{max_prompt_tokens}, so none is left to set the zero point; raise it or leave the "
            "file out"
        )
    return Demonstrated(rows=rows, num_dropped=num_dropped, num_cut=num_cut)
