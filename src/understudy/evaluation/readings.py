"""One sentence per figure of the report, computed from the figure's numbers.

Each function takes the figure's data and returns the sentence, or "" if there is nothing to say.
Equal numbers give equal sentences."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from understudy.evaluation.figures import in_order, label_of
from understudy.evaluation.points import Point, Table, decimal, ends_of, percent, value_of
from understudy.evaluation.tables import in_text

Curves = Mapping[str, Sequence[Mapping[str, Any]]]
Curved = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Curves of evaluation/overoptimisation.py by panel and name."""


def wins_reading(tables: Mapping[str, Table], baseline: str, *, scored: bool = False) -> str:
    """Which models are above, below or level with 50% by the first judge; which judges differ."""
    judge, table = next(iter(tables.items()))
    models = [m for m in in_order(list(table)) if ends_of(table[m]) and not m.endswith("_null")]
    if not models:
        return ""
    verb = "score above" if scored else "win against"
    groups: dict[str, list[str]] = {f"{verb} {baseline}": [], "lose": [], "come out even": []}
    above, below, even = groups.values()
    for model in models:
        (above if _side(table[model]) > 0 else below if _side(table[model]) < 0 else even).append(
            f"{label_of(model)} ({percent(table[model])})"
        )
    said = [
        f"{_listed(names)} {_verb(does, len(names))}" for does, names in groups.items() if names
    ]
    others = [
        other
        for other, found in list(tables.items())[1:]
        if any(m in found and _side(found[m]) != _side(table[m]) for m in models)
    ]
    differ = f"; {_listed([in_text(o) for o in others])} {_verb('differ', len(others))}"
    return f"By {in_text(judge)}, {'; '.join(said)}{differ if others else ''}."


def tricks_reading(tables: Mapping[str, Table]) -> str:
    """Whether any response made without knowledge of preferences wins."""
    found = {
        f"{label_of(model)} ({percent(point)} by {in_text(judge)})"
        for judge, table in tables.items()
        for model, point in table.items()
        if _side(point) > 0
    }
    if not found:
        return "None of them wins against SFT beyond its interval."
    return f"{_listed(sorted(found))} {_verb('win', len(found))} against SFT."


def size_reading(by_size: Mapping[str, Table], baseline: str) -> str:
    """Whether a smaller trained model beats the largest baseline."""
    sizes = list(by_size)
    for size in sizes[:-1]:
        for model in ("ppo_ptx", "ppo"):
            point = by_size[size].get(model)
            if point is not None and _side(point) > 0:
                return (
                    f"{label_of(model)} of {size} parameters already wins against {baseline} of "
                    f"{sizes[-1]} ({percent(point)})."
                )
    return f"No smaller model wins against {baseline} of {sizes[-1]} beyond its interval."


def means_reading(means: Mapping[str, Table]) -> str:
    """The best model on the first scale, and whether the other scales agree."""
    title, table = next(iter(means.items()))
    best = _top(table)
    others = [name for name, other in means.items() if name != title and _top(other) != best]
    end = f"; {in_text(others[0])} puts {label_of(_top(means[others[0]]))} first" if others else ""
    return f"{label_of(best)} has the highest {in_text(title)} ({decimal(table[best])}){end}."


def shares_reading(panels: Mapping[str, Table], baseline: str) -> str:
    """The largest difference from the baseline over all panels."""
    gaps = [
        (abs(found - base), title, model)
        for title, table in panels.items()
        if (base := value_of(table.get(baseline))) is not None
        for model, point in table.items()
        if model != baseline and (found := value_of(point)) is not None
    ]
    if not gaps:
        return ""
    _, title, model = max(gaps)
    table = panels[title]
    return (
        f"The largest difference from {label_of(baseline)}: {label_of(model)} has "
        f'{percent(table[model])} on "{" ".join(title.split())}", {label_of(baseline)} '
        f"{percent(table[baseline])}."
    )


def loss_reading(loss: Table) -> str:
    """How much each trained model lost against the base, in nats."""
    base = value_of(loss.get("base"))
    trained = {m: v for m in in_order(list(loss)) if (v := value_of(loss[m])) and m != "base"}
    if base is None or not trained:
        return ""
    said = [f"{label_of(model)} {value - base:+.2f}" for model, value in trained.items()]
    return f"Nats per token above the base: {', '.join(said)}."


def training_reading(curves: Curves) -> str:
    """How the score and the KL of each run moved."""
    said = []
    for name in in_order(list(curves)):
        scores = [v for p in curves[name] if (v := value_of(p.get("score"))) is not None]
        spent = [v for p in curves[name] if (v := value_of(p.get("kl"))) is not None]
        if scores:
            kl = f" at a KL of {spent[-1]:.1f} nats" if spent else ""
            word = "rises" if scores[-1] > scores[0] else "falls"
            said.append(
                f"{label_of(name)}'s score {word} from {scores[0]:.2f} to {scores[-1]:.2f}{kl}"
            )
    return "; ".join(said) + "." if said else ""


def overoptimisation_reading(curves: Curves) -> str:
    """Whether gold falls while the score still rises."""
    said = []
    for name in in_order(list(curves)):
        gold = [v for p in curves[name] if (v := value_of(p.get("gold"))) is not None]
        if len(gold) < 2:
            continue
        peak = max(gold)
        last = ends_of(curves[name][-1].get("gold"))
        if last is not None and last[1] < peak:
            said.append(
                f"{label_of(name)}'s gold score ends at {gold[-1]:.2f}, below its peak of "
                f"{peak:.2f}: over-optimised"
            )
        else:
            said.append(
                f"{label_of(name)}'s gold score ends at {gold[-1]:.2f}, not distinguishable from "
                f"its peak of {peak:.2f}"
            )
    return "; ".join(said) + "." if said else ""


def gains_reading(panels: Curved) -> str:
    """For each panel, the curve whose gold ends highest, and those that end below their peak."""
    said = []
    for title, curves in panels.items():
        last = {name: curve["points"][-1]["gold"] for name, curve in curves.items()}
        top = _top(last)
        fallen = []
        for name, curve in curves.items():
            peak = max(curve["points"], key=lambda point: value_of(point["gold"]) or 0.0)
            ends = ends_of(last[name])
            if ends is not None and ends[1] < (value_of(peak["gold"]) or 0.0):
                fallen.append(f"{name} falls after a KL of {peak['kl']:.1f} nats")
        end = f"; gold of {_listed(fallen)}" if fallen else ""
        said.append(f"{title}: {top} gains most gold at the end ({decimal(last[top])}){end}.")
    return " ".join(said)


def arms_reading(
    arms: Sequence[Mapping[str, Any]], axis: str, shown: Mapping[str, tuple[str, Any]]
) -> str:
    """The arm at which the first panel of an ablation is highest."""
    key, (title, _) = next(iter(shown.items()))
    known = [arm for arm in arms if value_of(arm.get(key)) is not None]
    if not known:
        return ""
    best = max(known, key=lambda arm: value_of(arm[key]) or 0.0)
    is_share = key.startswith(("win_rate", "on "))
    number = percent(best[key]) if is_share else decimal(best[key])
    return (
        f"{title} is highest for {label_of(best['series'])} at {axis} {best['value']} ({number})."
    )


def costs_reading(arms: Sequence[Mapping[str, Any]], judge: str) -> str:
    """The best arm by `judge`, a key of the arms, and the cheapest of those within its interval."""
    best = max(arms, key=lambda arm: value_of(arm[judge]) or 0.0)
    most = value_of(best[judge]) or 0.0
    low, _ = ends_of(best[judge]) or (most, most)
    near = [arm for arm in arms if (value_of(arm[judge]) or 0.0) >= low]
    said, owner = [("wins most", best)], label_of(best["series"])
    for cost, key in (("least KL", "kl"), ("fewest seconds", "seconds")):
        known = [(value, arm) for arm in near if (value := value_of(arm.get(key))) is not None]
        if known:
            _, cheapest = min(known, key=lambda pair: pair[0])
            said.append((f"needs the {cost} of those within {owner}'s interval", cheapest))
    return (
        "; ".join(
            f"{label_of(arm['series'])} at {arm['value']} {what} ({percent(arm[judge])}, "
            f"{decimal(arm.get('kl'), 1)} nats, {decimal(arm['seconds'], 0)} s)"
            for what, arm in said
        )
        + "."
    )


def tops_reading(panels: Mapping[str, Table], lower: Collection[str] = ()) -> str:
    """The best row of each panel, and whether its interval excludes the second's estimate. In the
    panels named in `lower`, lower is better."""
    said = []
    for title, table in panels.items():
        sign, which = (-1, "lowest") if title in lower else (1, "highest")
        known = {name: value_of(point) for name, point in table.items()}
        values = {name: sign * value for name, value in known.items() if value is not None}
        if not values:
            continue
        top = max(values, key=lambda name: values[name])
        others = [value for name, value in values.items() if name != top]
        ends = ends_of(table[top])
        sure = ends is None or not others or min(sign * end for end in ends) > max(others)
        doubt = "" if sure else ", not distinguishable from the next"
        said.append(f"{title}: {label_of(top)} is {which}{doubt}.")
    return " ".join(said)


def ranges_reading(panels: Mapping[str, Mapping[str, Table]]) -> str:
    """For each measure, every model's lowest and highest value over the conditions."""
    said = []
    for title, measured in panels.items():
        ranges = []
        for model in dict.fromkeys(name for table in measured.values() for name in table):
            points = [value_of(table.get(model)) for table in measured.values()]
            values = [value for value in points if value is not None]
            low, high = percent(min(values)), percent(max(values))
            ranges.append(f"{label_of(model)} {low if low == high else f'{low[:-1]} to {high}'}")
        said.append(f"{title}: {', '.join(ranges)}.")
    return " ".join(said)


def _side(point: Point) -> int:
    """1 if above 50% beyond the interval, -1 if below, else 0."""
    ends = ends_of(point)
    return 0 if ends is None else (ends[0] > 0.5) - (ends[1] < 0.5)


def _top(table: Table) -> str:
    return max(table, key=lambda model: value_of(table[model]) or float("-inf"))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _verb(plural: str, number: int) -> str:
    """The verb for that many subjects: "win against SFT" -> "wins against SFT" for one."""
    if number != 1:
        return plural
    verb, _, rest = plural.partition(" ")
    return f"{verb}s {rest}".rstrip()
