"""Accuracy of a reward model by labeler role, next to baselines that need no model."""

from collections.abc import Sequence
from typing import Any

import torch

from understudy.models.scalar import ScalarModel, ranking_batches
from understudy.models.sharding import compute
from understudy.records.schema import MINIMUM_GROUP, LabelerInfo
from understudy.records.shelf import Shelf, parts_of
from understudy.reward.accuracy import (
    above_length,
    calibration,
    length_accuracy,
    longer_wins,
    pairwise_accuracy,
    score_per_token,
)
from understudy.training.rankings import Element
from understudy.training.ranks import ALONE, Ranks

CHANCE = 0.5
"""Accuracy by chance."""
SCORED = 1 << 14
"""Rankings or demonstrations whose passes are planned together."""


@torch.no_grad()
def score_elements(
    model: ScalarModel,
    rows: Sequence[Element],
    pad_id: int,
    batch_tokens: int,
    ranks: Ranks = ALONE,
) -> list[list[float]]:
    """The scores of each element's responses."""
    training = model.training
    model.eval()
    scores: list[list[float]] = []
    for _, part in parts_of(rows, SCORED):
        scores += _score_part(model, part, pad_id, batch_tokens, ranks)
    model.train(training)
    return scores


def _score_part(
    model: ScalarModel, rows: Sequence[Element], pad_id: int, batch_tokens: int, ranks: Ranks
) -> list[list[float]]:
    scores = [[0.0] * row.size for row in rows]
    prompts = [row.prompt_ids for row in rows]
    responses = [row.response_ids for row in rows]
    batches = ranking_batches(model, prompts, responses, pad_id, batch_tokens)
    for share in ranks.deal(len(batches)):
        indices, batch = batches[share.number]
        flat = iter(compute(model, model.ranking_scores, batch).tolist())
        for index in indices if share.counts else ():
            scores[index] = [next(flat) for _ in range(rows[index].size)]
    every = iter(ranks.sum([score for row in scores for score in row]))
    return [[next(every) for _ in row] for row in scores]


def evaluate(
    model: ScalarModel,
    train: Sequence[Element],
    valid: Sequence[Element],
    pad_id: int,
    batch_tokens: int,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """The figures of results.json, with baselines: by labeler role on `valid`, or on `train` if
    `valid` is empty.

    Whether the length rule prefers longer or shorter is decided on `train`.
    """
    rule = longer_wins(*pair_values(train, [lengths(row) for row in train]))
    results: dict[str, Any] = {"chance": CHANCE, "longer_wins": rule}
    groups: dict[str, Sequence[Element]] = {
        f"{role}_labelers": Shelf(row for row in valid if row.labeler_role == role)
        for role in ("training", "held_out", "researcher", "model")
    }
    if not valid:
        groups = {"seen_in_training": train}
    for name, rows in groups.items():
        if rows:
            scores = score_elements(model, rows, pad_id, batch_tokens, ranks)
            results[name] = measure(rows, scores, rule)
    return results


def measure(
    rows: Sequence[Element], scores: Sequence[Sequence[float]], longer: bool
) -> dict[str, Any]:
    """Accuracy, calibration and baselines of scored elements, as plain JSON."""
    better, worse = pair_values(rows, scores)
    clusters = [row.prompt_key for row in rows for _ in row.pairs]
    by_length = pair_values(rows, [lengths(row) for row in rows])
    accuracy = pairwise_accuracy(better, worse, clusters).to_json()
    return {
        "accuracy": accuracy,
        "accuracy_length_only": length_accuracy(*by_length, clusters, longer).to_json(),
        "above_length": above_length(better, worse, *by_length, clusters, longer).to_json(),
        "score_per_token": score_per_token(better, worse, *by_length),
        "accuracy_by_labeler": _by_labeler(rows, scores),
        "calibration": calibration(better, worse).to_json(),
        "num_ties_left_out": sum(len(row.ties) for row in rows),
    }


def _by_labeler(
    rows: Sequence[Element], scores: Sequence[Sequence[float]]
) -> dict[str, dict[str, Any]]:
    labelers: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        labelers.setdefault(row.labeler_id, []).append(index)
    return {name: _accuracy(rows, scores, mine) for name, mine in sorted(labelers.items())}


def accuracy_by_group(
    rows: Sequence[Element], scores: Sequence[Sequence[float]], people: Sequence[LabelerInfo]
) -> list[dict[str, Any]]:
    """The accuracy for each group of labelers and each group that prompts concern; None stands for
    no group. The accuracy is None where fewer than `MINIMUM_GROUP` labelers ranked."""
    group_of = {one.id: one.group for one in people}
    cells: dict[tuple[str | None, str | None], list[int]] = {}
    for index, row in enumerate(rows):
        cells.setdefault((group_of.get(row.labeler_id), row.group), []).append(index)
    table = []
    for (labelers, prompts), mine in sorted(cells.items(), key=lambda cell: str(cell[0])):
        enough = len({rows[i].labeler_id for i in mine}) >= MINIMUM_GROUP
        accuracy = _accuracy(rows, scores, mine) if enough else None
        table.append({"labelers": labelers, "prompts": prompts, "accuracy": accuracy})
    return table


def _accuracy(
    rows: Sequence[Element], scores: Sequence[Sequence[float]], members: Sequence[int]
) -> dict[str, Any]:
    mine = [rows[i] for i in members]
    better, worse = pair_values(mine, [scores[i] for i in members])
    clusters = [row.prompt_key for row in mine for _ in row.pairs]
    return pairwise_accuracy(better, worse, clusters).to_json()


def lengths(row: Element) -> list[float]:
    """Tokens of each response."""
    return [float(len(response)) for response in row.response_ids]


def pair_values(
    rows: Sequence[Element], values: Sequence[Sequence[float]]
) -> tuple[list[float], list[float]]:
    """The values of the preferred and of the other response, for every kept pair in order."""
    better = [values[i][first] for i, row in enumerate(rows) for first, _ in row.pairs]
    worse = [values[i][second] for i, row in enumerate(rows) for _, second in row.pairs]
    return better, worse
