"""The labelers' pages as one application: all routes in one table."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from understudy.labeling import accounts, gate, pages, work
from understudy.labeling.parts import LabelApp
from understudy.store.accounts import newest_version
from understudy.web.access import Route
from understudy.web.app import WebSettings, build_app

FOLDER = Path(__file__).parent


def routes() -> tuple[Route, ...]:
    """Everything that can be asked of this server."""
    return (*pages.ROUTES, *accounts.ROUTES, *gate.ROUTES, *work.ROUTES, *_others())


def build_label_app(parts: LabelApp, settings: WebSettings) -> FastAPI:
    """The ASGI application."""
    ensure_rubric(parts)
    return build_app(
        routes(),
        parts=parts,
        door=parts,
        settings=settings,
        templates=FOLDER / "templates",
        static=FOLDER / "static",
    )


def ensure_rubric(parts: LabelApp) -> None:
    """The built-in instructions, where the project has none of its own."""
    if newest_version(parts.store) is None:
        text = (FOLDER / "instructions.md").read_text(encoding="utf-8")
        parts.store.add_rubric("default-1", text, ("helpful", "truthful", "harmless"))


def _others() -> tuple[Route, ...]:
    found: tuple[Route, ...] = ()
    for name in ("me", "owner"):
        if find_spec(f"understudy.labeling.{name}") is not None:
            module: Any = __import__(f"understudy.labeling.{name}", fromlist=["ROUTES"])
            found += tuple(module.ROUTES)
    return found
