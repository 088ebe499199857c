"""Rankings as training elements: one prompt, K encoded responses, all pairs that are kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.policies import say_once
from understudy.records.io import shelve_records
from understudy.records.overlap import note_overlap, note_splits
from understudy.records.schema import LabelRole, Ranking
from understudy.records.shelf import Shelf
from understudy.training.responses import encode_within, refuse_held_out
from understudy.training.weights import WeightOf, read_weights, weight_of_one


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """One ranking, encoded: the paper's single batch element (s3.5)."""

    prompt_ids: list[int]
    """The rendered prompt."""
    response_ids: list[list[int]]
    """The K responses, each with the token that closes it unless it was cut."""
    pairs: list[tuple[int, int]]
    """(better, worse) response indices; ties left out."""
    margins: list[float]
    """How much better, pair by pair: the difference of the labeler's scores, else of tiers."""
    ties: list[tuple[int, int]]
    """Tied pairs of response indices."""
    labeler_id: str
    """Who ranked."""
    labeler_role: LabelRole
    """The labeler's role."""
    prompt_key: str
    """Id of the prompt: intervals are clustered by it."""
    group: str | None = None
    """The group of people whom the prompt concerns."""
    weight: float = 1.0
    """Its weight in the loss."""

    @property
    def size(self) -> int:
        """K, the number of responses."""
        return len(self.response_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Elements:
    """Encoded rankings and what was left out."""

    rows: Sequence[Element]
    """Kept rankings, in the file's order."""
    num_dropped: int
    """Rankings left out because the prompt is too long (C: over 1k tokens)."""
    num_all_tied: int
    """Rankings left out because every pair is tied, so that nothing is learned from them."""
    num_cut: int
    """Responses cut at the limit."""


class RankingFiles(Protocol):
    """Settings that `read_rankings` needs."""

    @property
    def data(self) -> Path:
        """Rankings by training labelers."""

    @property
    def valid_data(self) -> Path | None:
        """Rankings to measure on."""

    @property
    def labeler_weights(self) -> Path | None:
        """JSON object of weights by labeler id."""

    @property
    def group_weights(self) -> Path | None:
        """JSON object of weights by labeler id, for each group that prompts concern."""

    @property
    def max_prompt_tokens(self) -> int:
        """Rankings with longer prompts are left out."""

    @property
    def max_response_tokens(self) -> int:
        """Longer responses are cut."""


def read_rankings(
    files: RankingFiles,
    tokenizer: Tokenizer,
    context: int | None,
    *,
    keep_all_tied: bool = False,
    check: Callable[[Sequence[Ranking]], object] = lambda rankings: None,
) -> tuple[Elements, Elements | None]:
    """(training, validation) rankings, encoded; ValueError for training rankings by held-out
    labelers. `check` sees the training rankings before they are encoded."""
    weight_of: WeightOf = weight_of_one

    def encode(path: Path, rankings: Sequence[Ranking], keep: bool) -> Elements:
        return encode_rankings(
            tokenizer,
            rankings,
            max_prompt_tokens=files.max_prompt_tokens,
            max_response_tokens=files.max_response_tokens,
            context=context,
            where=str(path),
            keep_all_tied=keep,
            weight_of=weight_of,
        )

    rankings = shelve_records(files.data, Ranking)
    weight_of = read_weights(files.labeler_weights, files.group_weights, rankings)
    refuse_held_out(rankings, str(files.data))
    if by_models := sum(ranking.labeler_role == "model" for ranking in rankings):
        say_once(f"{by_models:,} of the {len(rankings):,} rankings of {files.data} are by models")
    note_splits(rankings, files.data)
    check(rankings)
    train = encode(files.data, rankings, keep_all_tied)
    if files.valid_data is None:
        return train, None
    held_back = shelve_records(files.valid_data, Ranking)
    note_overlap(rankings, held_back, files.valid_data)
    return train, encode(files.valid_data, held_back, False)


def encode_rankings(
    tokenizer: Tokenizer,
    rankings: Sequence[Ranking],
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    context: int | None,
    where: str,
    keep_all_tied: bool = False,
    weight_of: WeightOf = weight_of_one,
) -> Elements:
    """Encode, drop long prompts and rankings without pairs, cut long responses.

    ValueError when a prompt exceeds the context or when nothing is left.
    """
    fits = encode_within(
        tokenizer,
        rankings,
        lambda ranking: ranking.responses,
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        context=context,
        where=where,
    )
    rows: Shelf[Element] = Shelf()
    num_dropped = num_all_tied = num_cut = 0
    for ranking, fit in fits:
        if fit is None:
            num_dropped += 1
        elif not (ranking.pairs() or keep_all_tied):
            num_all_tied += 1
        else:
            prompt, responses, cut = fit
            num_cut += cut
            rows.append(_element(ranking, prompt, responses, weight_of(ranking)))
    if not rows:
        raise ValueError(
            f"{where}: no ranking can be used (of {len(rankings):,}, {num_dropped:,} with prompts "
            f"over max_prompt_tokens={max_prompt_tokens}, {num_all_tied:,} with ties only)"
        )
    return Elements(rows=rows, num_dropped=num_dropped, num_all_tied=num_all_tied, num_cut=num_cut)


def _element(
    ranking: Ranking, prompt: list[int], responses: list[list[int]], weight: float
) -> Element:
    levels = ranking.scores or [-float(rank) for rank in ranking.ranks]
    ties = [
        (first, second)
        for tier in ranking.tiers
        for position, first in enumerate(tier)
        for second in tier[position + 1 :]
    ]
    return Element(
        prompt_ids=prompt,
        response_ids=responses,
        pairs=ranking.pairs(),
        margins=[max(levels[better] - levels[worse], 0.0) for better, worse in ranking.pairs()],
        ties=ties,
        labeler_id=ranking.labeler_id,
        labeler_role=ranking.labeler_role,
        prompt_key=ranking.prompt_id,
        group=ranking.group,
        weight=weight,
    )
