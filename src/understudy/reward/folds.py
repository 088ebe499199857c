"""Cross-validation over labelers (s4.1): does the reward model generalise to people it has not
seen?

The labelers are split into groups of about equal data. For each group a model is trained on the
others' rankings, and measured on prompts that no fold trains on: on the rankings of the labelers it
was trained on, and on those of the group left out. The paper has 5 groups and finds 72.4% and
69.6%.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.models.batching import shuffled
from understudy.records.io import write_records
from understudy.records.schema import Ranking

VALID_SHARE = 0.2
"""Share of the prompts that every fold measures on and none trains on."""


def labeler_groups(rankings: Sequence[Ranking], count: int, seed: int) -> list[set[str]]:
    """`count` groups of labelers with about equally many rankings; ValueError if there are too
    few."""
    amount = Counter(ranking.labeler_id for ranking in rankings)
    if len(amount) < count:
        raise ValueError(
            f"folds is {count} but the rankings come from {len(amount)} labelers; "
            "use at most one fold per labeler"
        )
    names = sorted(amount)
    order = [names[i] for i in shuffled(len(names), seed, "reward/folds")]
    groups: list[set[str]] = [set() for _ in range(count)]
    # Labelers with most rankings first, each to the group with the fewest so far.
    for name in sorted(order, key=lambda name: -amount[name]):
        min(groups, key=lambda group: sum(amount[member] for member in group)).add(name)
    return groups


def fold_files(
    rankings: Sequence[Ranking], left_out: set[str], folder: Path, seed: int
) -> tuple[Path, Path]:
    """(training file, validation file) of one fold; in the latter, the group left out has the
    held-out role."""
    prompts = sorted({ranking.prompt_id for ranking in rankings})
    order = shuffled(len(prompts), seed, "reward/fold_prompts")
    kept_back = {prompts[i] for i in order[: max(1, round(VALID_SHARE * len(prompts)))]}
    train = [
        ranking
        for ranking in rankings
        if ranking.prompt_id not in kept_back and ranking.labeler_id not in left_out
    ]
    valid = [
        replace(ranking, labeler_role="held_out" if ranking.labeler_id in left_out else "training")
        for ranking in rankings
        if ranking.prompt_id in kept_back
    ]
    if not train:
        raise ValueError("a fold has no rankings to train on; use fewer folds or more rankings")
    return (
        write_records(folder / "train.jsonl", train),
        write_records(folder / "valid.jsonl", valid),
    )


def cross_validate(
    rankings: Sequence[Ranking],
    count: int,
    folder: Path,
    seed: int,
    train: Callable[[Path, Path, Path], dict[str, Any]],
) -> dict[str, Any]:
    """Train and measure each fold with `train(data, valid_data, out) -> results`; returns means and
    each fold's figures.

    A fold without pairs on one side is listed but left out of that side's mean.
    """
    folds: list[dict[str, Any]] = []
    for index, group in enumerate(labeler_groups(rankings, count, seed)):
        place = folder / f"fold-{index}"
        data, valid = fold_files(rankings, group, place, seed)
        results = train(data, valid, place / "run")
        rates: dict[str, Any] = {
            side: results[name]["accuracy"]["rate"] if name in results else None
            for side, name in (("seen", "training_labelers"), ("unseen", "held_out_labelers"))
        }
        folds.append({"labelers_left_out": sorted(group), **rates})
    summary = {side: _mean([fold[side] for fold in folds]) for side in ("seen", "unseen")}
    return {"accuracy": summary, "folds": folds}


def _mean(rates: Sequence[float | None]) -> dict[str, Any]:
    """Mean over folds and its standard error, which counts folds as independent."""
    known = [rate for rate in rates if rate is not None]
    if not known:
        return {"mean": None, "standard_error": None, "folds": 0}
    mean = sum(known) / len(known)
    spread = sum((rate - mean) ** 2 for rate in known) / max(len(known) - 1, 1)
    return {"mean": mean, "standard_error": (spread / len(known)) ** 0.5, "folds": len(known)}
