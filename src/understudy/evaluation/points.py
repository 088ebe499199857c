"""Points of results.json as text: the estimate, its interval and its count.

A point is {"rate" or "mean", "low", "high", "n"}, or a plain number; a table maps names to points.
"""

from collections.abc import Mapping
from typing import Any

Point = Mapping[str, Any] | float | None
Table = Mapping[str, Point]


def value_of(point: Point) -> float | None:
    """The estimate of a point, or None if it has none."""
    if isinstance(point, Mapping):
        found = point.get("rate", point.get("mean"))
        return None if found is None else float(found)
    return None if point is None else float(point)


def ends_of(point: Point) -> tuple[float, float] | None:
    """The interval of a point, or None if it has none."""
    if isinstance(point, Mapping) and point.get("low") is not None:
        return float(point["low"]), float(point["high"])
    return None


def percent(point: Point) -> str:
    """`65%`, or a dash if there is no value."""
    value = value_of(point)
    return "-" if value is None else f"{100 * value:.0f}%"


def decimal(point: Point, digits: int = 2) -> str:
    """`3.12`, or a dash if there is no value."""
    value = value_of(point)
    return "-" if value is None else f"{value:z.{digits}f}"


def with_ends(point: Point, *, as_percent: bool = True) -> str:
    """`65% (60 to 70), n = 600`: the estimate with its interval and count, where known."""
    text = percent(point) if as_percent else decimal(point)
    ends = ends_of(point)
    if ends is not None:
        low, high = (100 * end if as_percent else end for end in ends)
        digits = 0 if as_percent else 2
        text += f" ({low:.{digits}f} to {high:.{digits}f})"
    if isinstance(point, Mapping) and point.get("n"):
        text += f", n = {point['n']}"
    return text
