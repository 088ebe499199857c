"""Feedback as KTO reads it, and the mismatched pairs of a batch."""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.kto.config import KTOConfig
from understudy.records import Feedback
from understudy.records.io import shelve_records
from understudy.records.overlap import note_overlap, note_splits
from understudy.records.shelf import Shelf
from understudy.training.responses import encode_within, refuse_held_out

FEWEST, MOST = 1.0, 4 / 3
"""Advised range of the total weight of desirable responses over that of undesirable ones (4.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One response, encoded."""

    prompt_ids: list[int]
    """The rendered prompt."""
    response_ids: list[list[int]]
    """The response, with the token that closes it unless it was cut; a list of one."""
    desirable: bool
    """Whether it is desirable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """Encoded feedback and what was left out."""

    rows: Sequence[Judged]
    """Kept responses, in the file's order."""
    num_dropped: int
    """Responses left out because the prompt is too long."""
    num_cut: int
    """Responses cut at the limit."""
    num_desirable: int
    """How many are desirable."""


def read_feedback(
    config: KTOConfig, tokenizer: Tokenizer, context: int | None
) -> tuple[Judgements, Judgements | None]:
    """(training, validation) feedback, encoded; ValueError for training feedback by held-out
    labelers. Notes weights outside the advised range on standard error."""
    feedback = shelve_records(config.data, Feedback)
    refuse_held_out(feedback, str(config.data))
    note_splits(feedback, config.data)
    train = _encode(config, tokenizer, context, feedback, str(config.data))
    _note_weights(train, config.desirable_weight, config.undesirable_weight)
    if config.valid_data is None:
        return train, None
    held_back = shelve_records(config.valid_data, Feedback)
    note_overlap(feedback, held_back, config.valid_data)
    return train, _encode(config, tokenizer, context, held_back, str(config.valid_data))


def _encode(
    config: KTOConfig,
    tokenizer: Tokenizer,
    context: int | None,
    feedback: Sequence[Feedback],
    where: str,
) -> Judgements:
    """Encode, drop long prompts, cut long responses; ValueError unless both kinds are left."""
    fits = encode_within(
        tokenizer,
        feedback,
        lambda record: [record.response],
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
        context=context,
        where=where,
    )
    rows: Shelf[Judged] = Shelf()
    num_cut = num_desirable = 0
    for record, fit in fits:
        if fit is not None:
            prompt, responses, cut = fit
            num_cut += cut
            num_desirable += record.desirable
            row = Judged(prompt_ids=prompt, response_ids=responses, desirable=record.desirable)
            rows.append(row)
    num_dropped = len(feedback) - len(rows)
    for wanted, name in ((True, "desirable"), (False, "undesirable")):
        if not (num_desirable if wanted else len(rows) - num_desirable):
            raise ValueError(
                f"{where}: no response is {name} (of {len(feedback):,}, {num_dropped:,} with "
                f"prompts over max_prompt_tokens={config.max_prompt_tokens}); KTO needs both kinds"
                + ("; use understudy sft for desirable ones alone" if not wanted else "")
            )
    return Judgements(
        rows=rows, num_dropped=num_dropped, num_cut=num_cut, num_desirable=num_desirable
    )


def _note_weights(found: Judgements, desirable: float, undesirable: float) -> None:
    """Note when one kind outweighs the other more than the paper advises."""
    good, bad = found.num_desirable, len(found.rows) - found.num_desirable
    ratio = good * desirable / (bad * undesirable)
    if FEWEST <= ratio <= MOST + 1e-9:
        return
    low, high = (bound * ratio * undesirable for bound in (1 / MOST, 1 / FEWEST))
    if ratio < FEWEST:
        low, high = (bound / ratio * desirable for bound in (FEWEST, MOST))
    print(
        f"note: {good:,} desirable responses of weight {desirable:g} and {bad:,} undesirable ones "
        f"of weight {undesirable:g} weigh {ratio:.3g} to 1; the KTO paper advises a ratio between "
        f"1 and {MOST:.3g}: use --{'un' * (ratio > MOST)}desirable-weight {low:.3g} to {high:.3g}",
        file=sys.stderr,
    )


def mismatched(rows: Sequence[Judged], context: int | None) -> list[Judged]:
    """Prompts of a batch with responses to its other prompts, cut to fit the context."""
    prompts = [tuple(row.prompt_ids) for row in rows]
    made = []
    for i, j in rotated(prompts):
        room = None if context is None else context - len(prompts[i])
        response = rows[j].response_ids[0][:room]
        made.append(replace(rows[i], response_ids=[response]))
    return made


def note_unpaired(counts: Sequence[int], where: str) -> None:
    """Note how many batches have only one prompt and so no mismatched pair; `counts` are the pairs
    of each batch."""
    if alone := sum(not count for count in counts):
        print(
            f"note: {where}: {alone:,} of {len(counts):,} batches have only one prompt, so their "
            "reference point z0 is 0 (eq. 8); use a larger --batch-size or more prompts",
            file=sys.stderr,
        )


def rotated(prompts: Sequence[Hashable]) -> list[tuple[int, int]]:
    """(i, j): prompt i with the response to j, a different prompt; each response at most once.

    The responses are rotated by one place (4.1, eq. 8). If prompts occur several times, equal ones
    are put side by side and the rotation is as long as the largest group, so that no prompt meets a
    response to itself. A prompt with more than half of the batch leaves some without a pair.

    >>> rotated(["a", "b", "c"])
    [(0, 1), (1, 2), (2, 0)]
    >>> rotated(["a", "b", "a", "c"])
    [(0, 1), (2, 3), (1, 0), (3, 2)]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    order = [index for group in groups.values() for index in group]
    by = max(map(len, groups.values()), default=0)
    pairs = [(i, order[(place + by) % len(order)]) for place, i in enumerate(order)]
    return [(i, j) for i, j in pairs if prompts[i] != prompts[j]]
