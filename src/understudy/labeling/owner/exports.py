"""The owner's export button: a job, its progress, its hash, the file."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

from pydantic import Field
from sqlalchemy import RowMapping

from understudy.labeling.owner.export_job import KINDS, RECORDS, selection_of
from understudy.labeling.parts import LabelApp
from understudy.records import file_hash
from understudy.store.exports.files import Kind
from understudy.store.exports.jobs import add_job, job, jobs, request_of, set_job, unfinished
from understudy.web.access import Access, ApiError, Body, Call, Download, Json, Route


class Request(Body):
    """What to export; purpose, split and rubric apply to records."""

    kind: Kind | Literal["labeler_weights", "team"]
    purpose: Literal["training", "evaluation"] = "training"
    split: Literal["train", "valid", "test"] | None = None
    rubric: str | None = Field(default=None, max_length=80)


def listed(call: Call) -> Json:
    """The newest jobs."""
    app: LabelApp = call.app
    return {"jobs": [_json(app, row) for row in jobs(app.store)], "kinds": list(KINDS)}


def ask(call: Call) -> Json:
    """Start one in the background."""
    app: LabelApp = call.app
    request = call.body.model_dump()
    if request["kind"] in RECORDS:
        try:
            selection_of(request)
        except ValueError as error:
            raise ApiError(400, "invalid", str(error)) from None
    job_id = add_job(app.store, request, by=call.me.id, at=app.now())
    start(app, job_id)
    return {"job": _json(app, job(app.store, job_id))}


def shown(call: Call) -> Json:
    """The state of one job."""
    return {"job": _json(call.app, _job(call))}


def file(call: Call) -> Download:
    """The file, if it is unchanged since the export."""
    app: LabelApp = call.app
    row = _job(call)
    if row["state"] != "done":
        raise ApiError(409, "invalid", "This export is not finished.")
    path = app.project.folder / row["path"]
    if not path.is_file() or file_hash(path) != row["sha256"]:
        raise ApiError(
            409,
            "changed",
            "The file has changed since the export: a user was forgotten, or it was moved. "
            "Export again.",
        )
    return Download(path, path.name)


def start(app: LabelApp, job_id: str) -> threading.Thread:
    """Run a job in a separate process, and report a failure."""
    command = [sys.executable, "-m", "understudy.labeling.owner.export_job"]
    command += [str(app.project.folder.resolve()), job_id]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    def wait() -> None:
        _, said = process.communicate()
        if process.returncode:
            print(said.decode(errors="replace"), end="", file=sys.stderr, flush=True)
            error = f"{_ended(process.returncode)}; nothing was written. Export again"
            set_job(app.store, job_id, state="failed", error=error, finished_at=app.now())

    thread = threading.Thread(target=wait, name=f"export {job_id}", daemon=True)
    thread.start()
    return thread


def _ended(code: int) -> str:
    """An exit code in words."""
    if code == -signal.SIGKILL:
        return "the export was killed, perhaps because memory ran out"
    if code < 0:
        return f"the export was ended by {signal.Signals(-code).name}"
    return f"the export failed with exit code {code}; the server's log says why"


def resume(app: LabelApp) -> None:
    """Start jobs that were waiting or running when the server stopped."""
    for job_id in unfinished(app.store):
        start(app, job_id)


def _job(call: Call) -> RowMapping:
    try:
        return job(call.app.store, call.path["job_id"])
    except LookupError:
        raise ApiError(404, "not_found", "There is no such export.") from None


def _json(app: LabelApp, row: RowMapping) -> Json:
    path: Path | None = app.project.folder / row["path"] if row["path"] else None
    dataset = path.stem[path.stem.find("ds-") :] if path and "ds-" in path.stem else None
    return {
        "id": row["id"],
        "request": request_of(row),
        "state": row["state"],
        "progress": row["progress"],
        "total": row["total"],
        "sha256": row["sha256"],
        "bytes": path.stat().st_size if path and path.is_file() else None,
        "dataset": dataset,
        "link": f"{PATH}/{row['id']}/file" if row["state"] == "done" else None,
        "error": row["error"],
        "by": row["name"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
    }


PATH = "/api/owner/exports"
ROUTES = (
    Route("GET", PATH, Access.OWNER, listed, part="owner/exports.html"),
    Route("POST", PATH, Access.OWNER, ask, Request, max_bytes=4096),
    Route("GET", PATH + "/{job_id}", Access.OWNER, shown),
    Route("GET", PATH + "/{job_id}/file", Access.OWNER, file),
)
