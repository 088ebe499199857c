"""One set of results from those of several seeds: what several runs of one study found together."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any

from understudy.evaluation.points import value_of
from understudy.evaluation.statistics import mean_interval

ONE_SEED = (
    "Each point is one training run with one seed: the intervals do not cover training noise. Two "
    "points whose intervals barely separate may be equal."
)
"""The first caveat of results of one seed."""


class Differ(Exception):
    """Texts that depend on the seed, or a measurement that not every seed has."""


def pooled(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results for `write_report`: means over the runs' seeds.

    A point is {"rate" or "mean", "low", "high", "n", "seeds"}: the mean of the seeds' estimates
    (`seeds`, in order) with a 95% interval by Student's t over them, and the sum of their counts.
    If all are equal, as shares of 0 or 1 often are, the interval is the mean of their own, narrower
    by the root of their number. Each seed has its own users, prompts, labelers and training, so the
    interval covers all of these. Other numbers become means (`seconds` the least, as other work
    only adds), and lists are as long as the shortest. What not every seed has, and texts that
    differ, are omitted. ValueError if two runs have the same seed, or if there are fewer than two.
    """
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ValueError(f"runs of the seeds {seeds}: results are pooled over two seeds or more")
    kept = [{key: run[key] for key in run if key not in {"seed", "bars"}} for run in runs]
    found: dict[str, Any] = _merged(kept)
    caveats = [text for text in found.get("caveats", ()) if text != ONE_SEED]
    listed = ", ".join(map(str, seeds[:-1])) + f" and {seeds[-1]}"
    bars = (
        f"Means over the seeds {listed}. Bars are 95% intervals by Student's t over the seeds: "
        "they cover other users, prompts and labelers, and training noise; with few seeds they are "
        "wide."
    )
    return {**found, "seeds": seeds, "bars": bars, "caveats": caveats}


def _merged(values: Sequence[Any]) -> Any:
    if all(map(_is_point, values)):
        return _point(values)
    if all(isinstance(value, Mapping) for value in values):
        return _mapping(values)
    if all(isinstance(value, list) for value in values):
        return [_merged(elements) for elements in zip(*values, strict=False)]
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return fmean(values)
    raise Differ


def _mapping(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all have, without what differs."""
    found = {}
    for key in values[0]:
        if all(key in value for value in values):
            with suppress(Differ):
                together = [value[key] for value in values]
                numbers = all(isinstance(value, int | float) for value in together)
                least = key == "seconds" and numbers
                found[key] = min(together) if least else _merged(together)
    return found


def _is_point(value: Any) -> bool:
    return isinstance(value, Mapping) and bool({"rate", "mean"} & value.keys()) and "low" in value


def _point(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seeds = [value_of(value) for value in values]
    known = [value for value in seeds if value is not None]
    if len(known) < len(seeds):
        raise Differ
    interval = mean_interval(known)
    name = "rate" if "rate" in values[0] else "mean"
    low, high = interval.low, interval.high
    if len(set(known)) == 1 and all(value["low"] is not None for value in values):
        mean, root = interval.rate, math.sqrt(len(known))
        low, high = (
            mean + (fmean(v[end] for v in values) - mean) / root for end in ("low", "high")
        )
    if name == "rate":
        low, high = max(0.0, low), min(1.0, high)
    number = sum(value.get("n") or 0 for value in values)
    return {name: interval.rate, "low": low, "high": high, "n": number, "seeds": known}
