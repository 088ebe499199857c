"""The labelers' pages as one application: all routes in one table."""

import sys
from pathlib import Path

from starlette.applications import Starlette

from understudy.labeling import accounts, pages
from understudy.labeling.owner import exports
from understudy.labeling.owner import routes as owner_routes
from understudy.labeling.parts import LabelApp
from understudy.labeling.work import gate, me, tasks
from understudy.store.rubrics import newest_version
from understudy.web.access import Route
from understudy.web.app import WebSettings, build_app

FOLDER = Path(__file__).parent


def routes() -> tuple[Route, ...]:
    """All routes of this server."""
    return (
        *pages.ROUTES,
        *accounts.ROUTES,
        *gate.ROUTES,
        *tasks.ROUTES,
        *me.ROUTES,
        *owner_routes.ROUTES,
    )


def build_label_app(parts: LabelApp, settings: WebSettings, *, apart: bool = False) -> Starlette:
    """The ASGI application; resumes interrupted exports.

    `apart`: a separate process answers the owner's slow requests.
    """
    project = str(parts.project.folder.resolve())
    ensure_rubric(parts)
    exports.resume(parts)
    return build_app(
        routes(),
        parts=parts,
        door=parts,
        settings=settings,
        templates=FOLDER / "templates",
        static=FOLDER / "static",
        apart=(sys.executable, "-m", "understudy.labeling.owner.apart", project) if apart else None,
    )


def ensure_rubric(parts: LabelApp) -> None:
    """Add the built-in instructions if the project has none."""
    if newest_version(parts.store) is None:
        text = (FOLDER / "instructions.md").read_text(encoding="utf-8")
        parts.store.add_rubric("default-1", text, ("helpful", "truthful", "harmless"))
