"""The owner's agreement page: the table with its counts, the breakdown, the change over time."""

from collections.abc import Callable, Sequence

from understudy.labeling.owner.parts import alt_of, measure_json, now_standing, series_of, svg
from understudy.labeling.owner.plots import line_plot
from understudy.labeling.owner.standing import Standing
from understudy.labeling.parts import LabelApp
from understudy.labeling.questions import FLAG_QUESTIONS
from understudy.store.accounts.people import names
from understudy.trust.agreement import Ties
from understudy.trust.meetings import cells
from understudy.trust.pairs import Measure
from understudy.trust.table import PAPER, Line
from understudy.web.access import Access, ApiError, Call, Content, Json, Route

PLOT = "/api/owner/plots/agreement.svg"
TITLES = {
    "role": "By role",
    "labeler": "By labeler, with everybody else",
    "use_case": "By use case",
    "rubric": "By version of the instructions",
}
TIES: tuple[Ties, ...] = ("drop", "half", "exact")


def agreement(call: Call) -> Json:
    """All data of the agreement page."""
    app: LabelApp = call.app
    ties = call.query.get("ties", "drop")
    if ties not in TIES:
        raise ApiError(400, "invalid", "ties must be drop, half or exact.")
    found = now_standing(app)
    name_of = names(app.store)
    lines = sorted(found.lines(ties), key=lambda line: _place(line, name_of))
    return {
        "ties": ties,
        "computed_at": found.at,
        "paper": PAPER,
        "tables": [
            {
                "about": about,
                "title": title,
                "lines": [_line(line, name_of) for line in lines if line.about == about],
            }
            for about, title in TITLES.items()
        ],
        "flags": [
            {
                "flag": flag,
                "question": FLAG_QUESTIONS[flag],
                "yes": yes,
                "answers": answers,
                "alpha": measure_json(alpha),
            }
            for flag, yes, answers, alpha in found.flags
        ],
        "breakdown": _breakdown(found, name_of),
        "drift": _drift_json(found),
    }


def _place(line: Line, name_of: dict[str, str]) -> str:
    """Sort key: labelers by their names; other lines keep their order."""
    return _by_name(name_of)(line.name) if line.about == "labeler" else ""


def _line(line: Line, name_of: dict[str, str]) -> Json:
    title = name_of.get(line.name, line.title) if line.about == "labeler" else line.title
    return {
        "name": line.name,
        "title": title,
        "agreement": measure_json(line.agreement),
        "alpha_preferences": measure_json(line.alpha_preferences),
        "alpha_likert": measure_json(line.alpha_likert),
        "alpha_flags": measure_json(line.alpha_flags),
    }


def _breakdown(found: Standing, name_of: dict[str, str]) -> Json:
    """How many pairs of responses each two labelers agreed and disagreed on: one cell per two
    labelers, keyed by their places in `names`, such as "0-1"."""
    by_pair = cells(found.meetings)
    labelers = sorted({name for pair in by_pair for name in pair}, key=_by_name(name_of))
    place = {name: index for index, name in enumerate(labelers)}
    return {
        "names": [name_of.get(name, name) for name in labelers],
        "cells": {
            "{}-{}".format(*sorted((place[one], place[other]))): {
                "agreed": agreed,
                "disagreed": disagreed,
                "left_out": left_out,
            }
            for (one, other), (agreed, disagreed, left_out) in by_pair.items()
        },
    }


def _by_name(name_of: dict[str, str]) -> Callable[[str], str]:
    return lambda name: name_of.get(name, name).casefold()


def _drift_json(found: Standing) -> Json:
    windows, lines = found.drift
    return {
        "plot": PLOT,
        "alt": alt_of(
            "Agreement of training labelers over time",
            [window.label for window in windows],
            lines["training"],
        ),
        "windows": [
            {
                "label": window.label,
                "from": window.start,
                "to": window.end,
                **{name: measure_json(measures[place]) for name, measures in lines.items()},
            }
            for place, window in enumerate(windows)
        ],
    }


def agreement_plot(call: Call) -> Content:
    """Agreement over time."""
    windows, lines = now_standing(call.app).drift
    titles = {
        "training": "Training labelers",
        "held_out": "Held-out labelers",
        "gold": "Gold items",
    }
    series = [
        series_of(titles[name], measures) for name, measures in lines.items() if _any(measures)
    ]
    labels = [window.label for window in windows]
    return svg(line_plot("Agreement over time", labels, series, percent=True))


def _any(measures: Sequence[Measure]) -> bool:
    return any(measure.value is not None for measure in measures)


ROUTES = (
    Route(
        "GET",
        "/api/owner/agreement",
        Access.OWNER,
        agreement,
        apart=True,
        part="owner/agreement.html",
    ),
    Route("GET", PLOT, Access.OWNER, agreement_plot, apart=True),
)
