"""An export in a separate process, so that it slows no labeler down:

    python -m understudy.labeling.owner.export_job PROJECT JOB

One runs at a time; the others wait for a lock. A job may be started twice, or killed and started
again: finished work stays, and a partial file resumes where it stopped.
"""

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from understudy.labeling.parts import LabelApp
from understudy.store import Project, Store, open_project
from understudy.store.exports.datasets import freeze
from understudy.store.exports.files import Selection, stored_path, write_dataset
from understudy.store.exports.jobs import UNFINISHED, finish_job, job, request_of, set_job
from understudy.store.rows import now
from understudy.web.bugs import report

RECORDS = ("rankings", "demonstrations", "ratings", "feedback", "prompts")
OTHERS = ("labeler_weights", "team")
KINDS = (*RECORDS, *OTHERS)


def run_job(project: Project, job_id: str) -> None:
    """Run the job and record the outcome."""
    store = project.open_store()
    try:
        with _one_at_a_time(project):
            row = job(store, job_id)
            if row["state"] not in UNFINISHED:
                return
            set_job(store, job_id, state="running", started_at=now())
            path, sha256 = _write(project, store, job_id, request_of(row))
            finish_job(store, job_id, path=stored_path(project, path), sha256=sha256, at=now())
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        set_job(store, job_id, state="failed", error=text, finished_at=now())
    except Exception as error:
        report(error)
        text = f"a bug ({type(error).__name__}); the server's log has the location. Try again, or "
        text += "export on the command line: understudy export"
        set_job(store, job_id, state="failed", error=text, finished_at=now())


def selection_of(request: Mapping[str, Any]) -> Selection:
    """The requested records; ValueError if `understudy export` would refuse the request."""
    return Selection(**{name: request[name] for name in ("kind", "split", "purpose", "rubric")})


def _write(
    project: Project, store: Store, job_id: str, request: Mapping[str, Any]
) -> tuple[Path, str]:
    if request["kind"] not in RECORDS:
        return _write_json(project, store, request["kind"])
    chosen = selection_of(request)
    dataset_id, number = freeze(store, chosen, project.folder)
    set_job(store, job_id, total=number)
    parts = (chosen.kind, chosen.purpose, chosen.split, dataset_id)
    out = project.datasets / f"{'-'.join(filter(None, parts))}.jsonl"
    sha256 = write_dataset(
        store,
        project,
        dataset_id,
        out,
        overwrite=True,
        progress=lambda done: set_job(store, job_id, progress=done),
    )
    set_job(store, job_id, progress=number)
    return out, sha256


def _write_json(project: Project, store: Store, kind: str) -> tuple[Path, str]:
    """The team's counts, or the training labelers' weights."""
    from understudy.labeling.owner.labelers import team_json
    from understudy.labeling.owner.standing import read_standing

    if kind == "team":
        value = team_json(LabelApp(store=store, project=project))
    else:
        found = read_standing(store, now())
        value = {
            name: round(weight, 4)
            for name, weight in sorted(found.consensus.weights().items())
            if found.role_of.get(name) == "training"
        }
        if not value:
            raise ValueError("there are no weights: no two training labelers ranked one prompt")
    data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    sha256 = hashlib.sha256(data).hexdigest()
    out = project.datasets / f"{kind}-{sha256[:16]}.json"
    partial = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return out, sha256


@contextmanager
def _one_at_a_time(project: Project) -> Iterator[None]:
    """A lock that is released when the process ends, however it ends."""
    project.datasets.mkdir(parents=True, exist_ok=True)
    with (project.datasets / ".export.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.nice(10)
    run_job(open_project(Path(sys.argv[1])), sys.argv[2])
