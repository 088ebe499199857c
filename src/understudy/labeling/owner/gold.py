"""The owner's page of gold items: the items, their rate, and who agrees with them."""

from typing import Literal

from pydantic import Field

from understudy.labeling.owner.parts import (
    alt_of,
    excerpt,
    measure_json,
    no_item,
    now_standing,
    series_of,
    svg,
)
from understudy.labeling.owner.plots import line_plot
from understudy.labeling.owner.standing import Standing, gold_by_window
from understudy.labeling.parts import LabelApp
from understudy.store.accounts.people import names
from understudy.store.labels.gold import (
    could_be_gold,
    gold_list,
    make_gold,
    researcher_answer,
    retire_gold,
)
from understudy.store.settings import GOLD_RATE, set_setting, setting
from understudy.trust.drift import windows_of
from understudy.trust.gold import accuracy
from understudy.trust.pairs import Measure
from understudy.web.access import Access, ApiError, Body, Call, Content, Json, Route

PLOT = "/api/owner/plots/gold.svg"


class Gold(Body):
    """An item that a researcher answered, and its use."""

    item_id: str = Field(max_length=200)
    use: Literal["practice", "screening", "mixed"]
    why: str = Field(default="", max_length=4000)


class Rate(Body):
    """Share of a labeler's items that are gold."""

    rate: float = Field(ge=0, le=0.5)


def listed(call: Call) -> Json:
    """Gold items, labelers' results, and items that could become gold."""
    app: LabelApp = call.app
    found, name_of = now_standing(app), names(app.store)
    labelers = sorted({one.account_id for one in found.gold})
    windows, measures = _windows(found)
    gold, more = gold_list(app.store), could_be_gold(app.store)
    app.note_views(call.me, "gold", (row["prompt_id"] for row in (*gold, *more)))
    return {
        "rate": setting(app.store, GOLD_RATE, 0.0),
        "items": [
            {
                "item_id": row["item_id"],
                "kind": row["kind"],
                "excerpt": excerpt(row["prompt_body"]),
                "use": row["use"],
                "why": row["why"],
                "author": name_of.get(row["author_id"] or "", row["author_id"]),
                "created_at": row["created_at"],
                "retired_at": row["retired_at"],
                "answered": row["answered"],
                "accuracy": measure_json(_accuracy_of_item(found, row["item_id"])),
            }
            for row in gold
        ],
        "labelers": [
            {
                "id": name,
                "name": name_of.get(name, name),
                "accuracy": measure_json(found.gold_of(name)),
                "flags": measure_json(_flags_of(found, name)),
            }
            for name in labelers
        ],
        "plot": PLOT,
        "alt": alt_of("Agreement with gold items over time", windows, measures),
        "could_be": [
            {
                "item_id": row["item_id"],
                "kind": row["kind"],
                "excerpt": excerpt(row["prompt_body"]),
                "author": row["name"],
                "at": row["done_at"],
            }
            for row in more
        ],
    }


def _accuracy_of_item(found: Standing, item_id: str) -> Measure:
    """How far labelers agree with one key; low agreement may be the key's fault. The interval is
    over labelers, since they, not prompts, vary here."""
    return accuracy(
        (one.account_id, one.score.ranking) for one in found.gold if one.item_id == item_id
    )


def _flags_of(found: Standing, account_id: str) -> Measure:
    return accuracy(
        (one.prompt_id, one.score.flags) for one in found.gold if one.account_id == account_id
    )


def _windows(found: Standing) -> tuple[list[str], list[Measure]]:
    windows = windows_of([one.at for one in found.gold])
    return [window.label for window in windows], gold_by_window(windows, found.gold)


def gold_plot(call: Call) -> Content:
    """Everybody's agreement with gold items over time."""
    labels, measures = _windows(now_standing(call.app))
    series = [series_of("Everybody", measures)]
    return svg(line_plot("Agreement with gold items", labels, series, percent=True))


def add(call: Call) -> Json:
    """Make an item gold with a researcher's answer as its key."""
    app: LabelApp = call.app
    found = researcher_answer(app.store, call.body.item_id)
    if found is None:
        raise ApiError(409, "invalid", "No researcher has answered this item yet.")
    author_id, answer = found
    try:
        make_gold(
            app.store,
            call.body.item_id,
            use=call.body.use,
            answer=answer,
            why=call.body.why,
            author_id=author_id,
            by=call.me.id,
            at=app.now(),
        )
    except ValueError as error:
        raise ApiError(409, "invalid", str(error)) from None
    return {"item_id": call.body.item_id}


def retire(call: Call) -> Json:
    """Retire a gold item."""
    at = call.app.now()
    try:
        retire_gold(call.app.store, call.path["item_id"], by=call.me.id, at=at)
    except LookupError:
        no_item()
    return {"retired_at": at}


def set_rate(call: Call) -> Json:
    """Set the rate of gold items."""
    set_setting(call.app.store, GOLD_RATE, call.body.rate, call.app.now(), by=call.me.id)
    return {"rate": call.body.rate}


ROUTES = (
    Route("GET", "/api/owner/gold", Access.OWNER, listed, apart=True, part="owner/gold.html"),
    Route("POST", "/api/owner/gold", Access.OWNER, add, Gold, max_bytes=32 * 1024),
    Route("POST", "/api/owner/gold/rate", Access.OWNER, set_rate, Rate, max_bytes=4096),
    Route("POST", "/api/owner/gold/{item_id}/retire", Access.OWNER, retire, max_bytes=4096),
    Route("GET", PLOT, Access.OWNER, gold_plot, apart=True),
)
