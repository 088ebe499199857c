"""Demonstrations as training examples."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import Example, check_prompt_length, encode_examples, records_of
from understudy.records.schema import Demonstration
from understudy.records.shelf import Shelf, parts_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Encoded demonstrations and what the length limits did to them."""

    rows: Sequence[Example]
    """One per kept demonstration, in the file's order."""
    kept: Sequence[int]
    """The index in the file of each row's demonstration."""
    num_dropped: int
    """Demonstrations left out because their prompt is too long (C: over 1k tokens)."""
    num_cut: int
    """Responses cut at the limit (C: 1k tokens) or the end of the context, without a closing
    token."""


def encode_demonstrations(
    tokenizer: Tokenizer,
    demonstrations: Sequence[Demonstration],
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    context: int | None,
    where: str,
) -> Examples:
    """Encode, drop long prompts, cut long responses; ValueError when a prompt exceeds the
    context."""
    rows: Shelf[Example] = Shelf()
    kept, num_cut = array("q"), 0
    for first, some in parts_of(demonstrations):
        name = records_of(where, first)
        examples = encode_examples(tokenizer, [(d.prompt, d.response) for d in some], name)
        for index, (demonstration, example) in enumerate(zip(some, examples, strict=True)):
            start = example.prompt_length
            if start > max_prompt_tokens:
                continue
            ids = example.input_ids[:start]
            check_prompt_length(demonstration.prompt, ids, context, name(index))
            room = max_response_tokens if context is None else context - start
            length = start + min(room, max_response_tokens)
            num_cut += length < example.end
            rows.append(example.cut(length))
            kept.append(first + index)
    total = len(demonstrations)
    if not rows:
        raise ValueError(
            f"{where}: every prompt is longer than max_prompt_tokens="
            f"{max_prompt_tokens}; raise it if the model's context allows"
        )
    return Examples(rows=rows, kept=kept, num_dropped=total - len(rows), num_cut=num_cut)
