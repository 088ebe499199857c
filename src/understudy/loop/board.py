"""`understudy board runs/`: curves, samples and settings of all runs in a folder, live.

Every two seconds the page reads the additions to run.json, metrics.jsonl, timings.jsonl and
samples.jsonl. The board writes nothing, and runs need no setting for it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from understudy.web.sockets import check_port, listen

STATIC = Path(__file__).parent / "board_static"
LOGS = ("metrics", "timings", "samples")
SKIPPED = {"checkpoints", "model", "tensorboard"}
"""A run's subfolders that contain no further runs."""
MOST_BYTES = 4_000_000
"""Most bytes of a log in one HTTP response; the page requests the rest afterwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardConfig:
    """Show all runs in a folder in a browser on this machine, while they train."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """Folder that holds the runs, at any depth."""
    port: int = 8090
    """Port to listen on, on the loopback address only."""

    def __post_init__(self) -> None:
        check_port(self.port)


def board(config: BoardConfig) -> None:
    """Serve the page until SIGINT or SIGTERM; ValueError if the folder does not exist."""
    import uvicorn

    if not config.folder.is_dir():
        raise ValueError(f"{config.folder} is not a folder; give the one that holds your runs")
    app = build_board(config.folder)
    listener = listen("127.0.0.1", config.port)
    print(f"board at http://127.0.0.1:{config.port}", flush=True)
    options = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(options).run(sockets=[listener])


def build_board(folder: Path) -> Any:
    """The ASGI application over `folder`."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from understudy.web.headers import SecureHeaders
    from understudy.web.static import Static

    def page(request: Request) -> Response:
        return Response((STATIC / "board.html").read_bytes(), media_type="text/html")

    def runs(request: Request) -> Response:
        return JSONResponse([summary(name, path) for name, path in find_runs(folder)])

    def log(request: Request) -> Response:
        path = dict(find_runs(folder)).get(request.query_params.get("run", ""))
        name = request.path_params["log"]
        if path is None or name not in LOGS:
            return JSONResponse({"error": "there is no such run or log"}, status_code=404)
        after = request.query_params.get("after", "")
        return JSONResponse(read_after(path / f"{name}.jsonl", after))

    routes = [
        Route("/", page),
        Route("/api/runs", runs),
        Route("/api/{log}", log),
        Static(STATIC).route,
    ]
    return SecureHeaders(Starlette(routes=routes), hosts=("127.0.0.1", "localhost"), tls=False)


def find_runs(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of every run below `folder`, by name; a name is the path relative to it."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED)
        if "run.json" in files:
            path = Path(where)
            yield path.relative_to(folder).as_posix(), path


def summary(name: str, path: Path) -> dict[str, Any]:
    """A run's entry in the list; `status` is "unreadable" if run.json is damaged."""
    try:
        text = (path / "run.json").read_text(encoding="utf-8")
        # Browsers cannot parse Infinity and NaN.
        record = json.loads(text, parse_constant=lambda name: None)
        kept = {key: record[key] for key in ("stage", "status", "config")}
    except (OSError, ValueError, KeyError, TypeError):
        kept = {"stage": "", "status": "unreadable", "config": {}}
    return {"name": name, **kept}


def read_after(path: Path, after: str) -> dict[str, Any]:
    """The complete lines of a log after the position `after`, which an earlier call returned as
    `next`.

    If the log has been replaced or has shrunk, for example by a resume, it is read from its start
    and `reset` is true.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return {"rows": [], "next": "", "reset": False}
    with file:
        status = os.fstat(file.fileno())
        inode, _, offset = after.partition("-")
        at = int(offset) if offset.isdecimal() else 0
        same = inode == str(status.st_ino) and at <= status.st_size
        at = at if same else 0
        file.seek(at)
        data = file.read(MOST_BYTES)
    data = data[: data.rfind(b"\n") + 1]
    rows = [row for row in map(_row, data.splitlines()) if row is not None]
    mark = f"{status.st_ino}-{at + len(data)}"
    return {"rows": rows, "next": mark, "reset": bool(after) and not same}


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None
