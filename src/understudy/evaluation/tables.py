"""Tables of results.json in words and as HTML: a table is model -> point (see figures.py)."""

from collections.abc import Mapping, Sequence

from understudy.evaluation import page
from understudy.evaluation.figures import Point, Table, ends_of, in_order, label_of


def verdict(point: Point) -> str:
    """What a win rate's interval says about 50%, in words."""
    ends = ends_of(point)
    if ends is None:
        return "no interval"
    if ends[0] > 0.5:
        return "above 50% beyond the interval"
    return "below 50% beyond the interval" if ends[1] < 0.5 else "not told apart from 50%"


def describe(table: Table, *, as_percent: bool = True) -> str:
    """A table of models in words, for alt texts."""
    return "; ".join(
        f"{label_of(name)} {page.with_ends(table[name], as_percent=as_percent)}"
        for name in in_order(list(table))
    )


def by_model(tables: Mapping[str, Table], *, as_percent: bool = True) -> str:
    """Rows are models, columns are tables."""
    models = in_order(list(dict.fromkeys(name for table in tables.values() for name in table)))
    rows = [
        (
            label_of(model),
            *(page.with_ends(table.get(model), as_percent=as_percent) for table in tables.values()),
        )
        for model in models
    ]
    return page.table(("", *tables), rows)


def transposed(tables: Mapping[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """name -> model -> point from model -> name -> point."""
    return {
        name: {model: table[name] for model, table in tables.items() if name in table}
        for name in names
    }
