"""Demonstrations as the reward model reads them: their mean score is its zero."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.records.schema import Demonstration
from understudy.training.responses import encode_within


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstrated:
    """Demonstrations as the reward model reads them, and what the length limits did to them."""

    prompts: list[list[int]] = field(default_factory=list)
    """Tokens of the prompts that are used."""
    responses: list[list[int]] = field(default_factory=list)
    """Tokens of their responses, cut as in training."""
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
        [d.prompt for d in demonstrations],
        [[d.response] for d in demonstrations],
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        context=context,
        where=where,
    )
    kept = [fit for fit in fits if fit is not None]
    prompts, responses = [prompt for prompt, _, _ in kept], [ids for _, [ids], _ in kept]
    num_dropped = len(demonstrations) - len(prompts)
    if not prompts:
        raise ValueError(
            f"{where}: all {num_dropped} prompts are longer than max_prompt_tokens="
            f"{max_prompt_tokens}, so none is left to set the zero point; raise it or leave the "
            "file out"
        )
    num_cut = sum(cut for _, _, cut in kept)
    return Demonstrated(
        prompts=prompts, responses=responses, num_dropped=num_dropped, num_cut=num_cut
    )
