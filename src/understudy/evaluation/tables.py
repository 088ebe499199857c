"""Tables of results.json as text and HTML; a table maps model -> point (see figures.py)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import in_order, label_of
from understudy.evaluation.points import Point, Table, decimal, ends_of, percent, with_ends

JUDGES = {
    "": "Held-out labelers",
    "held_out": "Held-out labelers",
    "training_labelers": "Training labelers",
    "training": "Training labelers",
    "researcher": "Researchers",
    "model_judge_corrected": "People, estimated with the model's help",
    "gold": "Gold judge",
    "reward_model": "Reward model",
    "second_reward_model": "Second reward model",
    "model_judge": "Model as judge",
}
"""Display names of judge groups."""


SCORERS = ("Reward model", "Second reward model")
"""Judges that are reward models."""


def is_model(judge: str) -> bool:
    """Whether a judge's verdicts are a model's, not people's."""
    return judge in SCORERS or judge.startswith(JUDGES["model_judge"])


def in_text(judge: str) -> str:
    """A judge's name for use within a sentence."""
    lowered = judge[:1].lower() + judge[1:]
    return f"the {lowered}" if judge == "Gold judge" or is_model(judge) else lowered


def _name(group: str, results: Mapping[str, Any]) -> str:
    """A group's display name; for a model as judge it includes how far people agree with it."""
    name = JUDGES.get(group, group.replace("_", " "))
    if group != "model_judge":
        return name
    people = (results.get("model_judge") or {}).get("people")
    if not people:
        return f"{name} (agreement with people unknown)"
    ends = with_ends({**people["agreement"], "n": None})
    return f"{name} (agrees with people on {ends})"


def win_tables(
    results: Mapping[str, Any], parent: Mapping[str, Any] | None = None
) -> dict[str, Table]:
    """Judge's name -> win rates, from the keys win_rates_vs_BASELINE and ..._GROUP."""
    found = results if parent is None else parent
    prefix = f"win_rates_vs_{results.get('baseline', 'sft')}"
    order = {key: place for place, key in enumerate(JUDGES)}
    groups = {
        key.removeprefix(prefix).removeprefix("_"): value
        for key, value in found.items()
        if key.startswith(prefix) and value
    }
    ordered = sorted(groups, key=lambda group: order.get(group, len(order)))
    return {_name(group, results): groups[group] for group in ordered}


def verdict(point: Point) -> str:
    """Where a win rate's interval lies relative to 50%, in words."""
    ends = ends_of(point)
    if ends is None:
        return "no interval"
    if ends[0] > 0.5:
        return "above 50% beyond the interval"
    return "below 50% beyond the interval" if ends[1] < 0.5 else "not distinguishable from 50%"


def describe(table: Table, *, as_percent: bool = True) -> str:
    """A table of models in words, for alt texts."""
    return "; ".join(
        f"{label_of(name)} {with_ends(table[name], as_percent=as_percent)}"
        for name in in_order(list(table))
    )


def by_model(tables: Mapping[str, Table], *, as_percent: bool = True) -> str:
    """Rows are models, columns are tables. Below a cell's point are its mean per user, its mean at
    the users' shares, and its seeds, if it has them."""
    models = in_order(list(dict.fromkeys(name for table in tables.values() for name in table)))
    rows = [
        (
            label_of(model),
            *(_cell(table.get(model), as_percent) for table in tables.values()),
        )
        for model in models
    ]
    return page.table(("", *tables), rows, raw=True)


def _cell(point: Point, as_percent: bool) -> str:
    text = escape(with_ends(point, as_percent=as_percent))
    if not isinstance(point, Mapping):
        return text
    for key, name in (("per_user", "per user"), ("by_shares", "at the users' shares")):
        if point.get(key):
            text += f"<br><small>{escape(name)} {escape(with_ends(point[key]))}</small>"
    if seeds := point.get("seeds"):
        one = percent if as_percent else decimal
        text += f"<br><small>seeds {', '.join(map(one, seeds))}</small>"
    return text


def transposed(tables: Mapping[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """Turns model -> name -> point into name -> model -> point."""
    return {
        name: {model: table[name] for model, table in tables.items() if name in table}
        for name in names
    }
