"""The stages before work: instructions, practice with feedback, screening, a person's decision."""

from sqlalchemy import select

from understudy.labeling.parts import LabelApp
from understudy.store.accounts.people import account_in, set_stage
from understudy.store.engine import writing
from understudy.store.labeling_tables import gold_items
from understudy.store.rubrics import acknowledge, last_read
from understudy.web.access import Access, Account, ApiError, Body, Call, Reply, Route


class Read(Body):
    """The version of the instructions that was read."""

    version: str


def purpose_of(role: str | None) -> str:
    """The purpose of a role's labels; candidates learn the training labelers' purpose."""
    return "evaluation" if role == "held_out" else "training"


def instructions(call: Call) -> Reply:
    """The current instructions, with this labeler's priorities, most important first."""
    rubric = call.app.rubric()
    read = last_read(call.app.store, call.me.id)
    purpose = purpose_of(call.me.role)
    return {
        "version": rubric["version"],
        "instructions": rubric["instructions"],
        "priorities": rubric[purpose],
        "purpose": purpose,
        "read": read == rubric["version"],
        "previous": read if read != rubric["version"] else None,
    }


def have_read(call: Call) -> Reply:
    """Go to the next stage, if the version read is still current."""
    app: LabelApp = call.app
    if not acknowledge(app.store, call.me.id, call.body.version, app.now()):
        raise ApiError(409, "not_current", "The instructions have changed; read them again.")
    account = app.account_of(call.token)
    assert account is not None
    return {"account": account.to_json(), "go": account.home}


def advance(app: LabelApp, account: Account) -> str:
    """The stage after practice or screening is complete; a stage without items is skipped.

    After screening a person decides. Without screening items, a role from the invitation takes
    effect at once.
    """
    with writing(app.store.engine) as connection:
        row = account_in(connection, account.id)
        if row["stage"] != account.stage:
            return str(row["stage"])
        query = select(gold_items.c.item_id).where(
            gold_items.c.use == "screening", gold_items.c.retired_at.is_(None)
        )
        screens = connection.execute(query.limit(1)).first() is not None
        if row["stage"] == "practice" and screens:
            stage = "screening"
        elif screens or row["role"] is None:
            stage = "waiting"
        else:
            stage = "active"
        set_stage(connection, account.id, stage)
        return stage


ROUTES = (
    Route("GET", "/api/instructions", Access.ACCOUNT, instructions),
    Route("POST", "/api/instructions", Access.ACCOUNT, have_read, Read, max_bytes=4096),
)
