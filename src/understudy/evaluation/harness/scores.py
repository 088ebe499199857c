"""From the harness's samples to a row per item, and from rows to estimates with 95% intervals.

Items of one task are independent; two models answer the same items, so differences are paired.

Legend: N items, R resamples, S = 10 BLEU statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from understudy.evaluation.statistics import Interval, mean_interval, win_rate

Row = dict[str, Any]

NUM_RESAMPLES = 1000
"""Number of resamples for BLEU, which is not a mean over items."""


def rows_of(
    samples: Sequence[Mapping[str, Any]],
    num_tokens: Mapping[tuple[str, str], int],
    *,
    one_right: bool,
) -> list[Row]:
    """A row per item from the harness's logged samples.

    If the choices continue one context, the row has each rule's pick ("pick") and, with `one_right`
    and a known index of the right answer, the accuracy per token ("acc_token").
    """
    return [_row(sample, num_tokens, one_right) for sample in samples]


def _row(
    sample: Mapping[str, Any], num_tokens: Mapping[tuple[str, str], int], one_right: bool
) -> Row:
    values = {name: plain(sample[name]) for name in sample["metrics"] if name in sample}
    row: Row = {"item": sample["doc_id"], "filter": sample["filter"]}
    asked = [tuple(arguments) for arguments in sample["arguments"]]
    responses = [response[0] for response in sample["resps"]]
    row |= {"target": plain(sample["target"]), "prompt": asked[0][0]}
    if all(isinstance(response, tuple | list) for response in responses):
        row |= _choice(asked, responses, num_tokens)
        right = row["target"]
        if one_right and "pick" in row and isinstance(right, int):
            values["acc_token"] = float(row["pick"]["token"] == right)
    else:
        kept = sample["filtered_resps"][0]
        row |= {"response": plain(responses[0]), "text": kept if isinstance(kept, str) else ""}
    return row | {"values": values}


def _choice(
    asked: Sequence[tuple[Any, ...]],
    responses: Sequence[tuple[float, bool]],
    num_tokens: Mapping[tuple[str, str], int],
) -> Row:
    logprobs = [float(logprob) for logprob, _ in responses]
    texts = [str(arguments[-1]) for arguments in asked]
    tokens = [num_tokens.get((str(a[0]), str(a[-1])), 0) for a in asked]
    row: Row = {"choices": texts, "logprobs": logprobs, "tokens": tokens}
    row["greedy"] = [bool(greedy) for _, greedy in responses]
    if len(texts) > 1 and len({arguments[0] for arguments in asked}) == 1 and all(tokens):
        rules = {
            "total": logprobs,
            "token": [x / n for x, n in zip(logprobs, tokens, strict=True)],
            "character": [x / len(t.strip()) for x, t in zip(logprobs, texts, strict=True)],
        }
        row["pick"] = {name: int(np.argmax(found)) for name, found in rules.items()}
    return row


def plain(value: Any) -> Any:
    """JSON data, from what the harness returns (numpy numbers, tuples)."""
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(found) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [plain(found) for found in value]
    if isinstance(value, bool):
        return float(value)
    return value if isinstance(value, str | int | float) or value is None else str(value)


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """The metrics that have an estimate: a number for every item, or BLEU's statistics."""
    names = rows[0]["values"] if rows else {}
    return [name for name in names if name == "bleu" or _numbers(rows, name) is not None]


def _numbers(rows: Sequence[Row], metric: str) -> np.ndarray | None:
    found = [row["values"].get(metric) for row in rows]
    if not all(isinstance(value, int | float) for value in found):
        return None
    return np.array(found, dtype=float)


def estimate(rows: Sequence[Row], metric: str) -> Interval:
    """The mean of a metric over items, or corpus BLEU out of 1."""
    if metric == "bleu":
        stats_NS = _bleu_stats(rows)
        return _interval(_bleu(stats_NS.sum(0)), _resampled(stats_NS), len(rows))
    values_N = _numbers(rows, metric)
    assert values_N is not None, metric
    inside = values_N.min() >= 0 and values_N.max() <= 1
    return win_rate(values_N) if inside else mean_interval(values_N)


def difference(rows: Sequence[Row], others: Sequence[Row], metric: str) -> Interval:
    """`rows` minus `others`, item by item. ValueError if their items differ."""
    if [row["item"] for row in rows] != [row["item"] for row in others]:
        raise ValueError("the two models were not run on the same items")
    if metric == "bleu":
        first_NS, second_NS = _bleu_stats(rows), _bleu_stats(others)
        moves_R = _resampled(first_NS) - _resampled(second_NS)
        return _interval(_bleu(first_NS.sum(0)) - _bleu(second_NS.sum(0)), moves_R, len(rows))
    first_N, second_N = _numbers(rows, metric), _numbers(others, metric)
    assert first_N is not None, metric
    assert second_N is not None, metric
    return mean_interval(first_N - second_N)


def _bleu_stats(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row["values"]["bleu"] for row in rows], dtype=np.int64)


def _resampled(stats_NS: np.ndarray) -> np.ndarray:
    """BLEU of resampled items; every model gets the same resamples."""
    num = len(stats_NS)
    rng = np.random.default_rng(0)
    weights_RN = rng.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
    return np.array([_bleu(sums_S) for sums_S in weights_RN @ stats_NS])


def _bleu(sums_S: np.ndarray) -> float:
    """Corpus BLEU out of 1 from lengths of text and reference, matches and n-grams of 1 to 4."""
    sys_len, ref_len, *counts = (int(value) for value in sums_S)
    found = BLEU.compute_bleu(
        correct=counts[:4], total=counts[4:], sys_len=sys_len, ref_len=ref_len, max_ngram_order=4
    )
    return float(found.score) / 100


def _interval(value: float, resampled_R: np.ndarray, num: int) -> Interval:
    low, high = np.quantile(resampled_R, [0.025, 0.975])
    return Interval(value, float(low), float(high), num)
