"""Prompts as token ids, checked for split, length and context."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import records_of, render_prompts
from understudy.models.trunk import context_length
from understudy.records.io import read_records
from understudy.records.schema import Prompt
from understudy.rl.models import Models
from understudy.rl.settings import RolloutSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """The prompts in use, and how many were left out."""

    records: list[Prompt]
    """The prompts."""
    ids: list[Sequence[int]]
    """Their token ids, up to where the response begins."""
    num_dropped: int
    """Number of prompts left out as too long."""


def read_both(config: RolloutSettings, models: Models) -> tuple[Prompts, Prompts | None]:
    """(training, held-out) prompts."""
    networks = (models.policy, models.reward_model, *models.members)
    contexts = [context_length(network) for network in networks]
    read = partial(
        read_prompts,
        tokenizer=models.tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
        context=min((c for c in contexts if c is not None), default=None),
    )
    train = read(config.prompts, training=True)
    if config.eval_prompts is None:
        return train, None
    return train, read(config.eval_prompts, training=False)


def read_prompts(
    path: Path,
    *,
    tokenizer: Tokenizer,
    max_prompt_tokens: int,
    max_response_tokens: int,
    context: int | None,
    training: bool,
) -> Prompts:
    """The prompts of a file; with `training`, any of another split is an error, not skipped."""
    records = read_records(path, Prompt)
    if training:
        refuse_other_splits(path, records)
    ids = render_prompts(tokenizer, [record.prompt for record in records], records_of(path))
    kept = [i for i, row in enumerate(ids) if 0 < len(row) <= max_prompt_tokens]
    if not kept:
        raise ValueError(
            f"{path} has no prompt of at most {max_prompt_tokens} tokens (it has {len(records)} "
            "prompts); raise max_prompt_tokens or give other prompts"
        )
    longest = max(kept, key=lambda i: len(ids[i]))
    if context is not None and len(ids[longest]) + max_response_tokens > context:
        raise ValueError(
            f"{path}: prompt {records[longest].id} has {len(ids[longest])} tokens, and with "
            f"max_response_tokens {max_response_tokens} exceeds the models' context of {context}; "
            "lower max_response_tokens or max_prompt_tokens"
        )
    return Prompts(
        records=[records[i] for i in kept],
        ids=[ids[i] for i in kept],
        num_dropped=len(records) - len(kept),
    )


def refuse_other_splits(path: Path, records: Sequence[Prompt]) -> None:
    """Training on a prompt of the validation or test split would spoil the evaluation."""
    others = [record for record in records if record.split in ("valid", "test")]
    if others:
        raise ValueError(
            f"{path}: {len(others)} of {len(records)} prompts belong to another split "
            f"(prompt {others[0].id}: {others[0].split}); give those of split train only"
        )
