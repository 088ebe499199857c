"""Weights of rankings in the loss: by who ranked, and by whom the prompt concerns."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.records.schema import MINIMUM_GROUP, Ranking

WeightOf = Callable[[Ranking], float]


def weight_of_one(ranking: Ranking) -> float:
    """Every ranking counts the same."""
    return 1.0


def read_weights(
    labeler_weights: Path | None, group_weights: Path | None, rankings: Sequence[Ranking]
) -> WeightOf:
    """A ranking's weights in both files, multiplied; a labeler in neither has weight 1."""
    by_labeler: Mapping[str, float] = {}
    by_group: Mapping[str, Mapping[str, float]] = {}
    if labeler_weights is not None:
        by_labeler = read_labeler_weights(labeler_weights, rankings)
    if group_weights is not None:
        by_group = read_group_weights(group_weights, rankings)

    def weight_of(ranking: Ranking) -> float:
        of_group = by_group.get(ranking.group, {}) if ranking.group is not None else {}
        return by_labeler.get(ranking.labeler_id, 1.0) * of_group.get(ranking.labeler_id, 1.0)

    return weight_of


def read_labeler_weights(path: Path, rankings: Sequence[Ranking]) -> dict[str, float]:
    """Weights by labeler id from a JSON object; ValueError for an invalid weight or an unknown
    labeler."""
    return _checked(_read(path, '{"labeler-1": 0.5}'), path, rankings)


def read_group_weights(path: Path, rankings: Sequence[Ranking]) -> dict[str, dict[str, float]]:
    """Weights by group and labeler id from a JSON object: on prompts that concern the group, these
    labelers' rankings count that much.

    ValueError for an unknown group, an invalid weight, an unknown labeler, and for fewer labelers
    than `MINIMUM_GROUP`: the file and the model would show who they are.
    """
    table = _read(path, '{"nurses": {"labeler-1": 4}}')
    known = {ranking.group for ranking in rankings if ranking.group is not None}
    found = {}
    for group, weights in table.items():
        if group not in known:
            named = ", ".join(sorted(known)) or "no group at all (docs/prompts.md)"
            raise ValueError(
                f"{path}: no ranking's prompt concerns group {group!r}; the rankings name {named}"
            )
        if not isinstance(weights, dict):
            raise ValueError(f"{path}: group {group!r} needs an object of weights by labeler")
        if len(weights) < MINIMUM_GROUP:
            raise ValueError(
                f"{path}: group {group!r} names {len(weights)} labelers; name at least "
                f"{MINIMUM_GROUP}, or the weights would show who they are"
            )
        found[group] = _checked(weights, path, rankings)
    return found


def _read(path: Path, example: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path} must be a JSON object such as {example}")
    return table


def _checked(
    weights: Mapping[str, Any], path: Path, rankings: Sequence[Ranking]
) -> dict[str, float]:
    known = {ranking.labeler_id for ranking in rankings}
    for labeler, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 < weight < float("inf"):
            raise ValueError(
                f"{path}: the weight of {labeler} is {weight!r}; it must be a number above 0 (to "
                "leave a labeler out, leave their rankings out)"
            )
        if labeler not in known:
            raise ValueError(f"{path}: no ranking is by labeler {labeler!r}")
    return {labeler: float(weight) for labeler, weight in weights.items()}
