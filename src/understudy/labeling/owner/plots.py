"""Plots of the owner's pages as SVG text: small, without a drawing library in the server.

They are shown as images, so nothing in them runs, and they contain no styles that a content
security policy would refuse. The page also gives the plotted numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 44
COLOURS = ("#0b5394", "#b45f06", "#38761d", "#741b47")
MARKS = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line, a point per label; None where there is no value."""

    name: str
    values: tuple[float | None, ...]
    lows: tuple[float | None, ...] = ()
    """Ends of the intervals; empty for a line without intervals."""
    highs: tuple[float | None, ...] = ()


def line_plot(
    title: str, labels: Sequence[str], series: Sequence[Series], *, percent: bool = False
) -> str:
    """Lines with intervals over labels of a common x axis."""
    numbers = [
        value
        for one in series
        for value in (*one.values, *one.lows, *one.highs)
        if value is not None
    ]
    if not numbers:
        return _frame(title, [_text(WIDTH / 2, HEIGHT / 2, "nothing to show yet", "middle")])
    low, high = _range(min(numbers), max(numbers), percent)
    parts = [*_grid(low, high, percent), *_x_labels(labels)]
    for index, one in enumerate(series):
        parts += _line(one, index, len(labels), low, high)
        parts.append(_legend(one.name, index))
    return _frame(title, parts)


def bar_plot(title: str, labels: Sequence[str], stacks: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Stacked bars of counts."""
    sums = [sum(values[i] for _, values in stacks) for i in range(len(labels))]
    if not any(sums):
        return _frame(title, [_text(WIDTH / 2, HEIGHT / 2, "nothing to show yet", "middle")])
    high = _nice(max(sums))
    parts = [*_grid(0.0, high, False), *_x_labels(labels)]
    step = (WIDTH - LEFT - RIGHT) / len(labels)
    for place in range(len(labels)):
        base = 0.0
        for index, (_, values) in enumerate(stacks):
            top, bottom = _y(base + values[place], 0.0, high), _y(base, 0.0, high)
            x = LEFT + place * step + step * 0.15
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" '
                f'height="{bottom - top:.1f}" fill="{COLOURS[index % len(COLOURS)]}"/>'
            )
            base += values[place]
    parts += [_legend(name, index) for index, (name, _) in enumerate(stacks)]
    return _frame(title, parts)


def _frame(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" font-family="sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>' + "".join(parts) + "</svg>"
    )


def _grid(low: float, high: float, percent: bool) -> list[str]:
    parts = []
    for step in range(5):
        value = low + (high - low) * step / 4
        y = _y(value, low, high)
        shown = f"{value:.0%}" if percent else f"{value:.3g}"
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d0d0"/>'
        )
        parts.append(_text(LEFT - 6, y + 4, shown, "end"))
    return parts


def _x_labels(labels: Sequence[str]) -> list[str]:
    every = max(1, -(-len(labels) // 7))
    return [
        _text(_x(place, len(labels)), HEIGHT - BOTTOM + 20, label, "middle")
        for place, label in enumerate(labels)
        if place % every == 0
    ]


def _line(one: Series, index: int, num: int, low: float, high: float) -> list[str]:
    colour = COLOURS[index % len(COLOURS)]
    parts, path = [], ""
    for place, value in enumerate(one.values):
        if value is None:
            path = path and path + " "
            continue
        # Lines are slightly offset, so that their intervals do not hide one another.
        x, y = _x(place, num) + 4 * index, _y(value, low, high)
        joined = path and not path.endswith(" ")
        path += f"{'L' if joined else 'M'}{x:.1f},{y:.1f}"
        parts.append(_mark(x, y, index, colour))
        if one.lows and one.lows[place] is not None and one.highs[place] is not None:
            ends = (_y(one.lows[place] or 0.0, low, high), _y(one.highs[place] or 0.0, low, high))
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" '
                f'stroke="{colour}" stroke-opacity="0.6"/>'
            )
    return [f'<path d="{path}" fill="none" stroke="{colour}"/>', *parts]


def _mark(x: float, y: float, index: int, colour: str) -> str:
    """Lines differ in shape as well as in colour."""
    kind = MARKS[index % len(MARKS)]
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    if kind == "square":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'
    corners = (
        [(0, -5), (5, 0), (0, 5), (-5, 0)] if kind == "diamond" else [(0, -5), (5, 4), (-5, 4)]
    )
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def _legend(name: str, index: int) -> str:
    x = LEFT + 160 * index
    colour = COLOURS[index % len(COLOURS)]
    return _mark(x, 16, index, colour) + _text(x + 10, 20, name, "start")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222">{escape(text)}</text>'
    )


def _x(place: int, num: int) -> float:
    step = (WIDTH - LEFT - RIGHT) / max(num, 1)
    return LEFT + step * (place + 0.5)


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))


def _range(low: float, high: float, percent: bool) -> tuple[float, float]:
    """The axis's range: for percentages a fifth, two fifths, four fifths or all of 0 to 1; else
    from 0."""
    if not percent:
        return min(0.0, low), _nice(high)
    for span in (0.2, 0.4, 0.8):
        start = min(int(low * 10) / 10, 1 - span)
        if start + span >= high:
            return start, start + span
    return 0.0, 1.0


def _nice(value: float) -> float:
    """The next round number divisible by four."""
    size = 4.0
    while size < value:
        for factor in (1.5, 2.0, 2.5, 5.0, 10.0):
            if size * factor >= value:
                return size * factor
        size *= 10
    return size
