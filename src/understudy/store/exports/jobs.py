"""Exports requested in the browser: a row each, from waiting to done or failed."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, select

from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, export_jobs
from understudy.store.repository import Store
from understudy.store.rows import packed

UNFINISHED = ("waiting", "running")


def add_job(store: Store, request: Mapping[str, Any], *, by: str, at: str) -> str:
    """Add a waiting job; returns its id."""
    job_id = f"ex-{secrets.token_hex(8)}"
    row = {
        "id": job_id,
        "account_id": by,
        "request": packed(dict(request)),
        "state": "waiting",
        "progress": 0,
        "created_at": at,
    }
    with writing(store.engine) as connection:
        connection.execute(export_jobs.insert(), row)
        append(connection, at=at, account_id=by, action="export.asked", object=job_id, body=request)
    return job_id


def jobs(store: Store, limit: int = 50) -> list[RowMapping]:
    """The newest jobs, each with the `name` of its requester."""
    query = (
        select(export_jobs, accounts.c.name)
        .join(accounts, accounts.c.id == export_jobs.c.account_id)
        .order_by(export_jobs.c.created_at.desc(), export_jobs.c.id)
        .limit(limit)
    )
    return rows_of(store.engine, query)


def job(store: Store, job_id: str) -> RowMapping:
    """One job; LookupError if there is none."""
    query = (
        select(export_jobs, accounts.c.name)
        .join(accounts, accounts.c.id == export_jobs.c.account_id)
        .where(export_jobs.c.id == job_id)
    )
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise LookupError(job_id)
    return row


def unfinished(store: Store) -> list[str]:
    """Jobs that are waiting or were running when the server stopped, oldest first."""
    query = select(export_jobs.c.id).where(export_jobs.c.state.in_(UNFINISHED))
    with reading(store.engine) as connection:
        return list(connection.execute(query.order_by(export_jobs.c.created_at)).scalars())


def set_job(store: Store, job_id: str, **values: Any) -> None:
    """Record the progress of a job; a finished job stays as it is."""
    mine = (export_jobs.c.id == job_id) & export_jobs.c.state.in_(UNFINISHED)
    with writing(store.engine) as connection:
        connection.execute(export_jobs.update().where(mine).values(values))


def finish_job(store: Store, job_id: str, *, path: str, sha256: str, at: str) -> None:
    """Record that a job is done, with its file and hash, here and in the audit log."""
    mine = (export_jobs.c.id == job_id) & export_jobs.c.state.in_(UNFINISHED)
    values = {"state": "done", "path": path, "sha256": sha256, "error": None, "finished_at": at}
    with writing(store.engine) as connection:
        if connection.execute(export_jobs.update().where(mine).values(values)).rowcount:
            body = {"path": path, "sha256": sha256}
            append(
                connection, at=at, account_id=None, action="export.done", object=job_id, body=body
            )


def request_of(row: RowMapping) -> dict[str, Any]:
    """The requested settings."""
    found: dict[str, Any] = json.loads(row["request"])
    return found
