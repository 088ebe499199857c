"""The report's section about a study."""

from collections.abc import Mapping
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import along_figure, frontier_figure, gains_figure, panels_figure
from understudy.evaluation.points import (
    Point,
    Table,
    decimal,
    ends_of,
    percent,
    value_of,
    with_ends,
)
from understudy.evaluation.readings import Curved, gains_reading, ranges_reading, tops_reading
from understudy.evaluation.tables import by_model, describe

Results = Mapping[str, Any]


def study_section(results: Results) -> str:
    """The panels of a study, a row per variant; a frontier if it has one; then further figures."""
    study = results.get("study") or {}
    if not study.get("panels"):
        return ""
    first = {"title": "Side by side.", "caption": "Further right is better.", **study}
    drawn = [_panels(first), *_frontier(study), *map(_panels, study.get("more", ()))]
    figures = page.figures(*drawn, *_gains(study))
    return _table(study) + figures + _ends(study) + _contexts(study)


def _table(study: Mapping[str, Any]) -> str:
    table = study.get("table")
    return page.table(table["head"], table["rows"]) if table else ""


def _ends(study: Mapping[str, Any]) -> str:
    """Where the runs of training ended, a row per run."""
    columns: Mapping[str, Table] = study.get("ends") or {}
    if not columns:
        return ""
    rows = [
        (name, *(_number(table[name]) for table in columns.values()))
        for name in next(iter(columns.values()))
    ]
    text = (
        "Where each run ended, and the gold score of the weights that it saved. A run without a "
        "judge saves a moving average; its figures are those of its last weights."
    )
    return page.paragraph(text) + page.table(("", *columns), rows)


def _number(point: Point) -> str:
    """A point that may be a count: `30`, or `3.46 (3.40 to 3.52), n = 400`."""
    if ends_of(point) is None and (value := value_of(point)) is not None:
        return f"{value:.3g}"
    return with_ends(point, as_percent=False)


def _gains(study: Mapping[str, Any]) -> list[str]:
    """One figure: the gain by the optimised score and by gold, against the KL."""
    panels: Curved = study.get("gains") or {}
    if not panels:
        return []
    rows = [
        (
            title,
            name,
            with_ends(curve["agreement"]),
            *(
                with_ends(curve["fits"][key][letter], as_percent=False)
                for key in ("gold", "proxy")
                for letter in "ab"
            ),
        )
        for title, curves in panels.items()
        for name, curve in curves.items()
    ]
    head = ("", "Reward model", "Orders as gold does", "Gold: a", "b", "Proxy: a", "b")
    caption = (
        "What is gained over the start, in standard deviations of its responses to one prompt: "
        "solid by the gold judge, dashed by the reward model that is optimised (the proxy). Marks "
        "are measured, lines fitted: d (a - b d) for best-of-n and d (a - b log d) for PPO, where "
        "d is the square root of the KL in nats (Gao et al. 2022)."
    )
    alt = "; ".join(
        f"{title}, {name}: gold from 0 to {decimal(curve['points'][-1]['gold'])}, proxy to "
        f"{decimal(curve['points'][-1]['proxy'])}"
        for title, curves in panels.items()
        for name, curve in curves.items()
    )
    figure = page.figure(
        gains_figure(panels),
        "How far a reward model can be optimised.",
        caption,
        alt,
        page.table(head, rows),
        reading=gains_reading(panels),
    )
    return [figure]


def _frontier(study: Mapping[str, Any]) -> list[str]:
    """One figure: what one side gains and the other pays."""
    if not study.get("frontier"):
        return []
    x, y, points, path = (study["frontier"][key] for key in ("x", "y", "points", "path"))
    alt = f"{x}; {y}: " + "; ".join(
        f"{name} {with_ends(p['x'])}; {with_ends(p['y'])}" for name, p in points.items()
    )
    are_wins = not study["frontier"].get("shares")
    caption = f"{x}: further right is better; {y[0].lower()}{y[1:]}: further up."
    if are_wins:
        caption = f"Win rates. {caption}"
    svg = frontier_figure(points, path, x, y, even=are_wins)
    return [page.figure(svg, "The frontier.", caption, alt)]


def _panels(shown: Mapping[str, Any]) -> str:
    """One figure of a study: small multiples in percent, with their numbers. With `along`, panels
    of one measure become lines over the conditions; `lower` names panels where less is better."""
    panels: Mapping[str, Table] = shown["panels"]
    alt = ". ".join(f"{title}: {describe(table)}" for title, table in panels.items())
    if along := shown.get("along"):
        measured = {
            title: {name: panels[key] for name, key in keys.items()}
            for title, keys in along["panels"].items()
        }
        svg = along_figure(measured, along["conditions"], along["axis"])
        reading = ranges_reading(measured)
    else:
        svg, reading = panels_figure(panels), tops_reading(panels, shown.get("lower", ()))
    caption = shown.get("caption", "")
    return page.figure(svg, shown["title"], caption, alt, by_model(panels), reading=reading)


def _contexts(study: Mapping[str, Any]) -> str:
    """The same responses in every deployment context, and where each is right by the gold judge."""
    found = study.get("contexts")
    if not found:
        return ""
    names = list(found["right"])
    examples = [
        (
            f"{row['request']} - {row['response']}",
            *(_verdict(row["contexts"][name]) for name in names),
        )
        for row in found.get("examples", ())  # several seeds have none in common
        if "request" in row
    ]
    rates = [
        (title, *(with_ends(found[key][name]) for name in names))
        for key, title in (
            ("right", "Right by the policy"),
            ("harmful", "Flagged as harm by the gold judge"),
            ("harmful_by_labelers", "Flagged as harm by held-out labelers"),
        )
    ]
    number = found["right"][names[0]]["n"]
    changing, everywhere, nowhere = (
        percent(found[key] / found["responses"]) for key in ("changes", "everywhere", "nowhere")
    )
    text = (
        f"The same {number} responses to harmful requests, judged in every context: {changing} are "
        f"right in one and wrong in another, {everywhere} are right everywhere, {nowhere} nowhere."
    )
    shown = page.paragraph(text) + page.table(("All of them", *names), rates)
    if not examples:
        return shown
    return (
        shown
        + page.table(("Request and response", *names), examples)
        + page.paragraph("judged.jsonl has the flags of each response in each context.")
    )


def _verdict(judged: Mapping[str, Any]) -> str:
    flags = ", ".join(name.replace("_", " ") for name in judged["flags"])
    return ("right" if judged["right"] else "wrong") + (f": {flags}" if flags else "")
