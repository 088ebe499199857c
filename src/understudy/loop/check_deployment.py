"""`understudy check-deployment`: what a project that others use still lacks (docs/deploy.md)."""

import json
import os
import shutil
import socket
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from understudy.records.convert import many
from understudy.store import Project, open_project

if TYPE_CHECKING:
    from understudy.store import Store

TIMEOUT_S = 10.0
CERTIFICATE_DAYS = 14
FREE_BYTES = 10**9
Finding = tuple[Literal["ok", "note", "missing"], str, str]
"""State, subject, and one sentence with the fix."""


class DeploymentIncomplete(OSError):
    """Something is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckDeploymentConfig:
    """List what a project still needs before, or while, other people use it."""

    project: Path = Path()
    """The project's folder."""
    labels: str | None = None
    """Address of the labelers' pages, like https://labels.example.org; not checked without it."""
    gateway: str | None = None
    """Address of the gateway, like https://api.example.org; not checked without it."""
    backup_days: float = 2.0
    """Greatest age of the newest backup, in days."""
    ca_file: Path | None = None
    """PEM file of certificates to trust instead of the system's, for a private authority."""

    def __post_init__(self) -> None:
        if self.backup_days <= 0:
            raise ValueError(f"backup_days is {self.backup_days}; it must be above 0")
        for name in ("labels", "gateway"):
            address = getattr(self, name)
            if address is not None and not urlsplit(address).hostname:
                raise ValueError(f"{name} is {address!r}; write it like https://labels.example.org")


def check_deployment(config: CheckDeploymentConfig) -> str:
    """A line per check; DeploymentIncomplete, after the lines, if anything is missing."""
    found = list(_findings(config))
    lines = [f"{state:<8} {what}: {text}" for state, what, text in found]
    missing = sum(state == "missing" for state, _, _ in found)
    if not missing:
        return "\n".join([*lines, "nothing is missing"])
    print("\n".join(lines), flush=True)
    raise DeploymentIncomplete(f"{missing} of {len(found)} things are missing; see docs/deploy.md")


def _findings(config: CheckDeploymentConfig) -> Iterator[Finding]:
    project = open_project(config.project)
    if os.getuid() == 0:
        yield "missing", "user", "runs as root; run the servers and this check as a separate user"
    else:
        yield "ok", "user", f"runs as user {os.getuid()}"
    yield _files(project)
    store = None
    try:
        store = project.open_store()
    except (ValueError, OSError) as error:
        yield "missing", "store", str(error)
    if store is not None:
        yield from _store(project, store)
        yield _backup(project, store, timedelta(days=config.backup_days))
        yield _disk(project, store)
    days = project.retention_days
    if days is None:
        yield "note", "retention", "prompts are kept forever; [privacy] retention_days limits that"
    else:
        yield "ok", "retention", f"prompts are kept for {many(days, 'day')}"
    for name in ("labels", "gateway"):
        address = getattr(config, name)
        if address is not None:
            yield from _served(name, address, config.ca_file)


def _files(project: Project) -> Finding:
    """Whether other users can read secret files."""
    names = (".", "project.toml", "store.sqlite", "log.sqlite")
    paths = [project.folder / name for name in names]
    open_to = [p for p in paths if p.exists() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    if open_to:
        named = " ".join(str(path) for path in open_to)
        return "missing", "files", f"other users can access {named}: chmod go= {named}"
    return "ok", "files", "only this user can read them"


def _store(project: Project, store: "Store") -> Iterator[Finding]:
    from understudy.store.accounts.people import all_accounts
    from understudy.store.audit import verify

    broken = verify(store)
    if broken:
        yield "missing", "store", f"the audit log was changed: {broken}; compare with a backup"
    else:
        yield "ok", "store", "it opens, has the newest schema, and its audit log is intact"
    if project.unfinished.exists():
        yield (
            "missing",
            "removals",
            "a removal was interrupted: run `understudy users forget` again",
        )
    owners = [
        row
        for row in all_accounts(store)
        if row["owner"] and row["password"] and not row["disabled_at"]
    ]
    if owners:
        yield "ok", "owner", f"{len(owners)} can sign in"
    else:
        yield "missing", "owner", "none: `understudy labelers invite NAME --owner`, open the link"


def _backup(project: Project, store: "Store", oldest: timedelta) -> Finding:
    from understudy.store.engine import is_sqlite, sqlite_file
    from understudy.store.maintenance import backups_of

    made = [
        (datetime.fromisoformat(at), path)
        for path, at in backups_of(project)
        if not path.name.startswith(".") and path.suffix != ".log"
    ]
    if not made:
        return "missing", "backup", "none: `understudy store backup`, from a timer"
    at, path = max(made)
    if datetime.now(UTC) - at > oldest:
        return "missing", "backup", f"the newest, {path}, is from {at:%Y-%m-%d}: make a new one"
    same = is_sqlite(store.engine) and (
        path.stat().st_dev == sqlite_file(store.engine).stat().st_dev
    )
    if same:
        return "missing", "backup", f"{path} is on the store's disk: copy it to another disk"
    return "ok", "backup", f"{path} from {at:%Y-%m-%d %H:%M}"


def _disk(project: Project, store: "Store") -> Finding:
    from understudy.store.engine import is_sqlite, sqlite_file

    size = sqlite_file(store.engine).stat().st_size if is_sqlite(store.engine) else 0
    free, wanted = shutil.disk_usage(project.folder).free, max(FREE_BYTES, 2 * size)
    if free < wanted:
        return "missing", "disk", f"{free / 1e9:.1f} GB are free; {wanted / 1e9:.1f} GB are needed"
    return "ok", "disk", f"{free / 1e9:.1f} GB are free"


def _served(name: str, address: str, ca_file: Path | None) -> Iterator[Finding]:
    """The checks of an address, as a browser or client sees it."""
    parts = urlsplit(address)
    host = str(parts.hostname)
    if parts.scheme != "https":
        yield "missing", name, f"{address} is not https: put a server that speaks TLS in front"
        return
    port = parts.port or 443
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    try:
        connection = HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        connection.request("GET", "/health")
        reply = connection.getresponse()
        body, headers = reply.read(100_000), reply.headers
        ends = _certificate_ends(connection.sock)
        connection.close()
    except (OSError, ValueError) as error:
        yield "missing", name, f"{address} does not respond over TLS: {error}"
        return
    yield _health(name, reply.status, body)
    left = ends - datetime.now(UTC)
    if left < timedelta(days=CERTIFICATE_DAYS):
        yield "missing", name, f"the certificate expires on {ends:%Y-%m-%d}: renew it"
    else:
        yield "ok", name, f"the certificate is valid until {ends:%Y-%m-%d}"
    if "strict-transport-security" in headers:
        yield "ok", name, "browsers are told to use https"
    else:
        yield "missing", name, "no Strict-Transport-Security: add the header in the server in front"
    if port == 443:
        yield _plain(name, host)


def _certificate_ends(sock: socket.socket | None) -> datetime:
    """When the certificate of a connection expires; ValueError without one."""
    found = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    if not found:
        raise ValueError("the server sent no certificate")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)


def _health(name: str, status: int, body: bytes) -> Finding:
    try:
        said = json.loads(body)["status"]
    except (ValueError, KeyError, TypeError):
        said = None
    if status == 200 and said == "ok":
        return "ok", name, "/health says ok"
    return "missing", name, f"/health returns {status}, status {said!r}: see the server's log"


def _plain(name: str, host: str) -> Finding:
    """Whether plain HTTP, which old links use, is off or redirects to https."""
    try:
        connection = HTTPConnection(host, 80, timeout=TIMEOUT_S)
        connection.request("GET", "/health")
        reply = connection.getresponse()
        there = reply.headers.get("Location", "")
        connection.close()
    except OSError:
        return "ok", name, "plain HTTP is not served"
    if reply.status in (301, 308) and there.startswith("https://"):
        return "ok", name, "plain HTTP is redirected to https"
    return "missing", name, f"plain HTTP returns {reply.status}: redirect it to https"
