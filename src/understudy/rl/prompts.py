"""Prompts as token ids, checked for split, length and context."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat import records_of, render_prompts
from understudy.models.trunk import context_length
from understudy.records.io import shelve_records
from understudy.records.schema import Prompt
from understudy.records.shelf import Shelf, parts_of
from understudy.rl.models import Models
from understudy.rl.settings import RolloutSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """The prompts in use, and how many were left out."""

    records: Sequence[Prompt]
    """The prompts."""
    ids: Sequence[Sequence[int]]
    """Their token ids, up to where the response begins."""
    num_dropped: int
    """Number of prompts left out as too long."""


def read_both(config: RolloutSettings, models: Models) -> tuple[Prompts, Prompts | None]:
    """(training, held-out) prompts."""
    networks = (models.policy, models.reward_model, *models.members)
    contexts = [models.engine.context, *(context_length(network) for network in networks)]
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
    """The prompts of a file; with `training`, a prompt of another split is an error."""
    records = shelve_records(path, Prompt)
    if training:
        refuse_other_splits(path, records)
    kept: Shelf[Prompt] = Shelf()
    kept_ids: Shelf[list[int]] = Shelf()
    longest, of = 0, ""
    for start, some in parts_of(records):
        rows = render_prompts(tokenizer, [r.prompt for r in some], records_of(path, start))
        for record, ids in zip(some, rows, strict=True):
            if not 0 < len(ids) <= max_prompt_tokens:
                continue
            kept.append(record)
            kept_ids.append(ids)
            if len(ids) > longest:
                longest, of = len(ids), record.id
    if not kept:
        raise ValueError(
            f"{path} has no prompt of at most {max_prompt_tokens} tokens (it has {len(records)} "
            "prompts); raise max_prompt_tokens or give other prompts"
        )
    if context is not None and longest + max_response_tokens > context:
        raise ValueError(
            f"{path}: prompt {of} has {longest} tokens, and with "
            f"max_response_tokens {max_response_tokens} exceeds the models' context of {context}; "
            "lower max_response_tokens or max_prompt_tokens"
        )
    return Prompts(records=kept, ids=kept_ids, num_dropped=len(records) - len(kept))


def refuse_other_splits(path: Path, records: Sequence[Prompt]) -> None:
    """ValueError for prompts of the validation or test split, since training on them would spoil
    the evaluation."""
    number, first = 0, None
    for record in records:
        if record.split in ("valid", "test"):
            number, first = number + 1, first or record
    if first is not None:
        raise ValueError(
            f"{path}: {number} of {len(records)} prompts belong to another split "
            f"(prompt {first.id}: {first.split}); give those of split train only"
        )
