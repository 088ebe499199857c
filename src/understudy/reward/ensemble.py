"""Agreement between reward models trained with different seeds on the same rankings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.models.chat import padding_id
from understudy.models.scalar import load_scalar
from understudy.reward.accuracy import pairwise_accuracy
from understudy.reward.evaluate import score_elements
from understudy.training.rankings import Element


def measure_ensemble(
    folders: Sequence[Path], rows: Sequence[Element], batch_tokens: int
) -> dict[str, Any]:
    """Accuracy and agreement of an ensemble's members on the pairs of `rows`, as plain JSON."""
    scores = []
    for folder in folders:
        model, tokenizer = load_scalar(folder)
        scores.append(score_elements(model, rows, padding_id(tokenizer), batch_tokens))
    pairs = [(i, better, worse) for i, row in enumerate(rows) for better, worse in row.pairs]
    better = np.array([[mine[i][b] for i, b, _ in pairs] for mine in scores])
    worse = np.array([[mine[i][w] for i, _, w in pairs] for mine in scores])
    clusters = [rows[i].prompt_key for i, _, _ in pairs]
    result = agreement(better, worse, clusters)
    return {"models": [str(folder) for folder in folders], **result}


def agreement(better: np.ndarray, worse: np.ndarray, clusters: Sequence[str]) -> dict[str, Any]:
    """From scores of shape (members, pairs): each member's accuracy, the mean score's accuracy, how
    often all members order a pair alike, and how often they are right then."""
    order = np.sign(better - worse)
    unanimous = (order == order[0]).all(axis=0)
    by_mean = pairwise_accuracy(better.mean(axis=0), worse.mean(axis=0), clusters)
    kept = [cluster for cluster, alike in zip(clusters, unanimous, strict=True) if alike]
    right = pairwise_accuracy(better[0, unanimous], worse[0, unanimous], kept) if kept else None
    return {
        "accuracy_of_members": [
            pairwise_accuracy(mine, other, clusters).rate
            for mine, other in zip(better, worse, strict=True)
        ],
        "accuracy_of_mean_score": by_mean.to_json(),
        "share_unanimous": float(unanimous.mean()),
        "accuracy_when_unanimous": None if right is None else right.to_json(),
        "spread_of_difference": float((better - worse).std(axis=0).mean()),
    }
