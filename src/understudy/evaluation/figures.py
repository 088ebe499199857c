"""The report's figures as inline SVG that takes its colours from the page.

Matplotlib draws with sentinel colours, which are then replaced by CSS: text and axes by
`currentColor`, each model by a variable such as `var(--sft)`. One drawing is therefore legible in
light and dark mode. Figures are narrow enough to read on a phone; wide pages set them side by side.

A point has the form that it has in results.json: {"rate" or "mean", "low", "high", "n"}, or a plain
number.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import cycle
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from understudy.evaluation.overoptimisation import fitted
from understudy.evaluation.points import Point, Table, ends_of, value_of

MODELS = {
    "base": "Base",
    "prompted": "Prompted",
    "sft": "SFT",
    "sft_null": "SFT again",
    "rl_init": "RL init",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
    "best_of_n": "Best-of-n",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "raft": "RAFT",
    "dpo": "DPO",
    "kto": "KTO",
}
"""Known models with their display names, in the order of the paper's figures, then those that it
does not have."""

VARIANTS = {
    "base_07": ("base", "Base at 0.7"),
    "prompted_07": ("prompted", "Prompted at 0.7"),
    "sft_greedy": ("sft", "SFT, greedy"),
}
"""Models decoded in another way: the model whose colour each takes, and its display name."""
TRICKS = {
    "constant_refusal": "Always refuse",
    "constant_unknown": "Always “don't know”",
    "constant_not_said": "Always “not in text”",
    "constant_the_end": "Always “the end”",
    "constant_good": "Always good",
    "constant_commonest": "SFT's commonest",
    "echo": "Prompt repeated",
    "first_sentence": "First sentence",
    "shortest": "Shortest",
    "longest": "Longest",
    "likeliest": "Likeliest",
    "verdict": "Base's choice",
}
"""Display names of responses made without knowledge of preferences; the last four are chosen from n
responses ("shortest_of_16")."""

INK, GRID = "#000001", "#000002"
COLOURS = {name: f"#00a0{index:02x}" for index, name in enumerate(MODELS, start=1)}
EXTRA = tuple(f"#00b0{index:02x}" for index in range(1, 6))
WIDTH = 4.6
"""Inches of 72 units each."""
LONG = 20
"""Characters of a name of which a row of the legend has place for two."""
TITLE_WIDTH = 20
"""Most characters per line in the title of half a figure; longer titles take several lines."""

_CSS = {INK: "currentColor", GRID: "var(--grid)"}
_CSS |= {colour: f"var(--{name.replace('_', '-')})" for name, colour in COLOURS.items()}
_CSS |= {colour: f"var(--extra-{index})" for index, colour in enumerate(EXTRA, start=1)}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "understudy",
    "text.parse_math": False,
}


def in_order(names: Sequence[str]) -> list[str]:
    """Model names as the paper orders them, unknown ones last."""
    order: list[str] = []
    for model in MODELS:
        order += [model, *(name for name, (of, _) in VARIANTS.items() if of == model)]
    known = [name for name in order if name in names]
    return known + [name for name in names if name not in known]


def label_of(name: str) -> str:
    """A model's display name."""
    if name in VARIANTS:
        return VARIANTS[name][1]
    trick, of, number = name.partition("_of_")
    if trick in TRICKS and name not in MODELS:
        return f"{TRICKS[trick]} of {number}" if of else TRICKS[trick]
    return MODELS.get(name, name)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A sentinel colour for each model; unknown ones get the extra colours in turn."""
    found: dict[str, str] = {}
    spare = cycle(EXTRA)
    for name in names:
        model = VARIANTS.get(name, (name, ""))[0]
        found.setdefault(name, COLOURS.get(model) or next(spare))
    return found


@matplotlib.rc_context(_STYLE)
def win_rate_figure(tables: Mapping[str, Table]) -> str:
    """In the style of the paper's Figures 1 and 3: a row per model, a mark per judge, 50% line."""
    models = in_order(list(dict.fromkeys(name for table in tables.values() for name in table)))
    markers, colours = ["o", "D", "s", "^", "v"], colours_of(models)
    figure, axes = _figure(0.75 + 0.44 * len(models))
    for offset, (table, marker) in enumerate(zip(tables.values(), markers, strict=False)):
        shift = (offset - (len(tables) - 1) / 2) * 0.24
        for row, model in enumerate(models):
            _mark(axes, table.get(model), row + shift, colours[model], marker)
    axes.axvline(0.5, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    _rows(axes, [label_of(model) for model in models])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, {judge: (INK, m) for judge, m in zip(tables, markers, strict=False)}, "")
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def panels_figure(panels: Mapping[str, Table], percent: bool = True) -> str:
    """In the style of the paper's Figures 4 and 29: small multiples, a row per model in each."""
    models = in_order(list(dict.fromkeys(name for table in panels.values() for name in table)))
    num_rows, colours = (len(panels) + 1) // 2, colours_of(models)
    figure = Figure(figsize=(WIDTH, num_rows * (0.72 + 0.2 * len(models))), layout="constrained")
    grid = figure.subplots(num_rows, 2, sharey=True, squeeze=False)
    title_width = TITLE_WIDTH - max(0, max(len(label_of(model)) for model in models) - 15) // 2
    for axes, (title, table) in zip(grid.flat, panels.items(), strict=False):
        for row, model in enumerate(models):
            _mark(axes, table.get(model), row, colours[model], "o")
        _rows(axes, [label_of(model) for model in models])
        axes.set_title(fill(title, title_width, break_on_hyphens=False))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        if percent:
            _percent_range(axes, table)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def along_figure(
    panels: Mapping[str, Mapping[str, Table]], conditions: Sequence[str], axis: str
) -> str:
    """A panel per measure over conditions in order, such as policies by strictness: a table per
    condition, a line per model."""
    tables = [table for measured in panels.values() for table in measured.values()]
    models = in_order(list(dict.fromkeys(name for table in tables for name in table)))
    colours, markers = colours_of(models), dict(zip(models, cycle("oDs^vP"), strict=False))
    figure = Figure(figsize=(WIDTH, 0.8 + 1.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, measured) in zip(grid, panels.items(), strict=True):
        for number, model in enumerate(models):
            shift = (number - (len(models) - 1) / 2) * 0.1
            found = [(conditions.index(name) + shift, t.get(model)) for name, t in measured.items()]
            for at, point in found:
                if (ends := ends_of(point)) is not None:
                    axes.plot([at, at], ends, color=colours[model], linewidth=1.3)
            places = [(at, value) for at, p in found if (value := value_of(p)) is not None]
            axes.plot(*zip(*places, strict=True), color=colours[model], linewidth=0.8,
                      marker=markers[model], markersize=5)  # fmt: skip
        axes.set_title(title, loc="left")
        axes.grid(axis="y")
        axes.set_ylim(-0.07, 1.07)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[-1].set_xticks(range(len(conditions)), conditions)
    grid[-1].set_xlabel(axis)
    _legend(figure, {label_of(name): (colours[name], markers[name]) for name in models}, "")
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def frontier_figure(
    points: Mapping[str, Mapping[str, Point]],
    path: Sequence[str],
    x: str,
    y: str,
    even: bool = True,
) -> str:
    """Variants as points at two rates, with both intervals: what one side gains and the other pays.
    A line joins the variants in `path`. Dashed, with `even`: no preference, for win rates."""
    figure, axes = _figure(3.4)
    colours = colours_of(points)
    places = {n: (value_of(p["x"]) or 0.0, value_of(p["y"]) or 0.0) for n, p in points.items()}
    marker = dict(zip(points, cycle("oDs^vP"), strict=False))
    if path:
        between = zip(*(places[name] for name in path), strict=True)
        axes.plot(*between, color=GRID, linewidth=1.2, zorder=0)
    for name, point in points.items():
        at_x, at_y = places[name]
        for key, line in (("x", [at_y, at_y]), ("y", [at_x, at_x])):
            if (ends := ends_of(point[key])) is not None:
                both = (ends, line) if key == "x" else (line, ends)
                axes.plot(*both, color=colours[name], linewidth=1.3)
        axes.plot([at_x], [at_y], color=colours[name], marker=marker[name], markersize=5.5)
    if even:
        axes.axvline(0.5, color=INK, linewidth=1, linestyle=(0, (3, 3)))
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    for axis, title in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_label_text(title)
        axis.grid(True)
    _legend(figure, {name: (colour, marker[name]) for name, colour in colours.items()}, "")
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def training_figure(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: Sequence[tuple[str, str]],
    unit: str = "iteration",
) -> str:
    """One panel per (key, title) over a trainer's steps, under the key `unit`, a line per run."""
    return _lines(curves, rows, unit, unit.replace("_", " "), lambda axes: None)


@matplotlib.rc_context(_STYLE)
def overoptimisation_figure(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], best_of_n: Mapping[str, Mapping[str, Any]]
) -> str:
    """Score and gold score against KL (root scale), best-of-n beside PPO; "" without either."""
    rows = [("score", "Reward-model score"), ("gold", "Gold score")]
    rows = [row for row in rows if any(row[0] in p for curve in curves.values() for p in curve)]
    points = [
        (float(p["kl"]), found)
        for p in best_of_n.values()
        if p.get("kl") is not None and (found := value_of(p.get("gold"))) is not None
    ]
    if points and all(key != "gold" for key, _ in rows):
        rows.append(("gold", "Gold score"))
    if not rows:
        return ""

    def finish(axes: Axes) -> None:
        if axes.get_title(loc="left") == "Gold score" and points:
            colour = COLOURS["best_of_n"]
            axes.plot(*zip(*points, strict=True), color=colour, marker="D", markersize=4,
                      linestyle=(0, (2, 2)))  # fmt: skip
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))

    extra = {"Best-of-n": (COLOURS["best_of_n"], "D")} if points else {}
    return _lines(curves, rows, "kl", "KL from the reference, nats (root scale)", finish, extra)


@matplotlib.rc_context(_STYLE)
def gains_figure(panels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Gao et al.'s figure: a panel per title, a colour per curve, a mark per measured point. Fitted
    lines are solid for gold and dashed for the proxy."""
    figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        colours = dict(zip(curves, cycle(EXTRA), strict=False))
        for name, curve in curves.items():
            kl = np.array([max(point["kl"], 0.0) for point in curve["points"]])
            dense = np.linspace(0.0, float(np.sqrt(kl.max())), 60) ** 2
            for key, marker, dash in (("gold", "o", "-"), ("proxy", "x", (0, (4, 2)))):
                a, b = (value_of(curve["fits"][key][letter]) for letter in "ab")
                if a is not None and b is not None:
                    axes.plot(
                        np.sqrt(dense),
                        fitted(dense, a, b, curve["form"]),
                        linestyle=dash,
                        color=colours[name],
                        linewidth=1.4,
                    )
                values = [value_of(point[key]) for point in curve["points"]]
                axes.plot(np.sqrt(kl), values, color=colours[name], marker=marker, markersize=3.5,
                          linestyle="none", label=name if key == "gold" else None)  # fmt: skip
        axes.axhline(0.0, color=GRID, linewidth=1)
        axes.set_title(title, loc="left")
        axes.set_xlim(left=0)
        axes.grid(axis="y")
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    grid[-1].set_xlabel("square root of the KL from the start (nats)")
    figure.supylabel("gain, standard deviations", fontsize=10.5)
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def size_figure(by_size: Mapping[str, Table]) -> str:
    """The paper's Figure 1: win rate against one baseline by size, a line per model."""
    models = in_order(list(dict.fromkeys(name for table in by_size.values() for name in table)))
    figure, axes = _figure(2.6)
    colours = colours_of(models)
    for model in models:
        places = [
            (x, found, ends_of(table.get(model)) or (found, found))
            for x, table in enumerate(by_size.values())
            if (found := value_of(table.get(model))) is not None
        ]
        colour = colours[model]
        axes.plot([x for x, _, _ in places], [y for _, y, _ in places], color=colour, marker="o",
                  markersize=5)  # fmt: skip
        for x, _, (low, high) in places:
            axes.plot([x, x], [low, high], color=colour, linewidth=1.4)
    axes.axhline(0.5, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_xticks(range(len(by_size)), list(by_size))
    axes.set_xlim(-0.2, len(by_size) - 0.8)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y")
    axes.set_xlabel("parameters of the policy")
    _legend(figure, {label_of(model): (colours[model], "o") for model in models}, "-")
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def ablation_figure(
    arms: Sequence[Mapping[str, Any]], axis: str, panels: Mapping[str, tuple[str, float | None]]
) -> str:
    """In the style of the paper's Figures 33 and 34: a panel per key, a line per series, a point
    with its interval per arm. `panels`: key -> (title, where a dashed line marks no difference)."""
    values = sorted(dict.fromkeys(arm["value"] for arm in arms), key=_number)
    series = in_order(list(dict.fromkeys(arm["series"] for arm in arms)))
    num_rows, colours = (len(panels) + 1) // 2, colours_of(series)
    figure = Figure(figsize=(WIDTH * 1.25, 0.5 + 1.5 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, 2, sharex=True, squeeze=False)
    for axes, (key, (title, even)) in zip(grid.flat, panels.items(), strict=False):
        for place, name in enumerate(series):
            shift = (place - (len(series) - 1) / 2) * 0.12
            found = [
                (values.index(arm["value"]) + shift, value_of(arm.get(key)), ends_of(arm.get(key)))
                for arm in arms
                if arm["series"] == name and value_of(arm.get(key)) is not None
            ]
            colour = colours[name]
            axes.plot([x for x, _, _ in found], [y for _, y, _ in found], color=colour, marker="o",
                      markersize=4)  # fmt: skip
            for x, _, ends in found:
                if ends is not None:
                    axes.plot([x, x], ends, color=colour, linewidth=1.3)
        if even is not None:
            axes.axhline(even, color=INK, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_title(title, loc="left")
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xticks(range(len(values)), values)
        axes.tick_params(axis="x", labelsize=8, rotation=30 if max(map(len, values)) > 5 else 0)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(axis, fontsize=10.5)
    _legend(figure, {label_of(name): (colours[name], "o") for name in series}, "-")
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def cost_figure(
    arms: Sequence[Mapping[str, Any]], best_of_n: Mapping[str, Mapping[str, Any]], judge: str
) -> str:
    """The win rate under `judge`, a key of the arms, against KL (root scale) and seconds of
    training. A line joins a method's arms in order; best-of-n needs no training."""
    methods = in_order(list(dict.fromkeys(arm["series"] for arm in arms)))
    lines = {name: [arm for arm in arms if arm["series"] == name] for name in methods}
    if best_of_n:
        lines["best_of_n"] = [{**p, judge: p["win_rate"]} for p in best_of_n.values()]
    markers = dict(zip(lines, cycle("oDs^vP*X"), strict=False))
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    costs = {"kl": "KL from the reference, nats (root scale)", "seconds": "seconds of training"}
    for axes, (key, title) in zip(figure.subplots(2, 1), costs.items(), strict=True):
        for name, points in lines.items():
            rows = [(max(x, 0.0), p[judge]) for p in points
                    if (x := value_of(p.get(key))) is not None]  # fmt: skip
            for x, point in rows:
                if (ends := ends_of(point)) is not None:
                    axes.plot([x, x], ends, color=COLOURS[name], linewidth=1.1, alpha=0.6)
            axes.plot([x for x, _ in rows], [value_of(point) for _, point in rows], linewidth=0.8,
                      color=COLOURS[name], marker=markers[name], markersize=4.5)  # fmt: skip
        axes.set_xlabel(title)
        axes.grid(axis="y")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if key == "kl":
            axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    _legend(figure, {label_of(name): (COLOURS[name], markers[name]) for name in lines}, "-")
    return _svg(figure)


def _lines(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: Sequence[tuple[str, str]],
    x_key: str,
    x_label: str,
    finish: Callable[[Axes], None],
    extra: dict[str, tuple[str, str]] | None = None,
) -> str:
    """Panels one above the other with one line per run; `extra` names more lines in the legend."""
    figure = Figure(figsize=(WIDTH, 0.7 + 1.6 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    colours = colours_of(in_order(list(curves)))
    for axes, (key, title) in zip(grid, rows, strict=True):
        axes.set_title(title, loc="left")
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        for name, colour in colours.items():
            points = [
                (float(p[x_key]), found)
                for p in curves[name]
                if p.get(x_key) is not None and (found := value_of(p.get(key))) is not None
            ]
            if points:
                if x_key == "kl":
                    points = [(max(x, 0.0), y) for x, y in points]
                _band(axes, curves[name], x_key, key, colour)
                axes.plot(*zip(*points, strict=True), color=colour)
                axes.plot(*points[-1], color=colour, marker="o", markersize=4)
        finish(axes)
    grid[-1].set_xlabel(x_label)
    names = {label_of(name): (colour, "o") for name, colour in colours.items()}
    _legend(figure, names | (extra or {}), "-")
    return _svg(figure)


def _number(text: str) -> float:
    """A setting as a number, to sort by; any other text comes first."""
    try:
        return float(text)
    except ValueError:
        return -math.inf


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _mark(axes: Axes, point: Point, row: float, colour: str, marker: str) -> None:
    value, ends = value_of(point), ends_of(point)
    if value is None:
        return
    if ends is not None:
        axes.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([value], [row], color=colour, marker=marker, markersize=5.5)


def _band(
    axes: Axes, curve: Sequence[Mapping[str, Any]], x_key: str, key: str, colour: str
) -> None:
    """Draw a curve's intervals, if it has them, as a pale band."""
    rows = [(p[x_key], ends) for p in curve if (ends := ends_of(p.get(key))) and x_key in p]
    if rows:
        low, high = zip(*(ends for _, ends in rows), strict=True)
        axes.fill_between([max(x, 0.0) for x, _ in rows], low, high, color=colour, alpha=0.15, lw=0)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _percent_range(axes: Axes, table: Table) -> None:
    """Let the axis run from 0 to the largest value, or at least to 10%."""
    tops = [value_of(point) or 0.0 for point in table.values()]
    tops += [ends[1] for point in table.values() if (ends := ends_of(point)) is not None]
    axes.set_xlim(0, min(1.02, max(0.1, max(tops) * 1.08)))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _legend(figure: Figure, entries: Mapping[str, tuple[str, str]], line: str) -> None:
    """A legend above the plots: name -> (colour, marker)."""
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=5)
        for colour, marker in entries.values()
    ]
    num_columns = 3 if max(map(len, entries)) < LONG else 2
    figure.legend(
        handles, list(entries), loc="outside upper left", ncols=num_columns, frameon=False,
        borderpad=0.0,
        handletextpad=0.5 if line else 0.1, columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))


def _svg(figure: Figure) -> str:
    """The figure as an inline SVG element without fixed colours, fonts, size or metadata."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    for sentinel, css in _CSS.items():
        text = text.replace(sentinel, css)
    mark = f"f{sha256(text.encode()).hexdigest()[:8]}-"
    text = re.sub(r'\bid="', f'id="{mark}', text)
    text = re.sub(r"url\(#", f"url(#{mark}", text)
    return re.sub(r'xlink:href="#', f'href="#{mark}', text)
