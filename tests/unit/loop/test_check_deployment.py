"""What a project that others use lacks: one finding for each thing that is done wrong."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.stores import make_project

from understudy.cli import main
from understudy.loop import check_deployment as module
from understudy.loop.check_deployment import CheckDeploymentConfig, check_deployment
from understudy.store import Project, migrate
from understudy.store.accounts.people import NewAccount, accept, invite
from understudy.store.engine import writing
from understudy.store.labeling_tables import audit_log
from understudy.store.maintenance import backup

AT = "2026-01-01T00:00:00.000000+00:00"
LATER = "2999-01-01T00:00:00.000000+00:00"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project as it should be, but for the backup, which lies on the same disk."""
    made = make_project("sqlite", tmp_path / "project")
    for path in (made.folder, made.folder / "project.toml", made.folder / "store.sqlite"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    store = made.open_store()
    token = invite(
        store, NewAccount(name="Olga", owner=True, screen=False), by=None, at=AT, expires_at=LATER
    )
    assert accept(store, token, "Olga", "a hash", AT)
    backup(made, tmp_path / "copy.sqlite")
    return made


def findings(project: Project, **options) -> dict[str, list[tuple[str, str]]]:
    """What was looked at -> how it is and the sentence."""
    found: dict[str, list[tuple[str, str]]] = {}
    for state, what, text in module._findings(
        CheckDeploymentConfig(project=project.folder, **options)
    ):
        found.setdefault(what, []).append((state, text))
    return found


def states(project: Project, what: str, **options) -> list[str]:
    return [state for state, _ in findings(project, **options).get(what, [])]


def test_what_is_as_it_should_be(project: Project) -> None:
    for what in ("files", "store", "owner", "disk"):
        assert states(project, what) == ["ok"], findings(project)[what]
    assert states(project, "retention") == ["note"]
    assert states(project, "user") == ["missing" if os.getuid() == 0 else "ok"]
    ((state, text),) = findings(project)["backup"]
    assert state == "missing"
    assert "is on the store's disk" in text


def test_files_that_others_may_read(project: Project) -> None:
    (project.folder / "project.toml").chmod(0o640)
    ((state, text),) = findings(project)["files"]
    assert state == "missing"
    assert f"chmod go= {project.folder / 'project.toml'}" in text


def test_no_owner_no_backup_an_old_backup(project: Project, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in project.backups.read_text().splitlines()]
    project.backups.write_text("".join(json.dumps({**row, "at": AT}) + "\n" for row in rows))
    assert "is from 2026-01-01" in findings(project)["backup"][0][1]
    (tmp_path / "copy.sqlite").unlink()
    assert findings(project)["backup"][0][1].startswith("none:")
    bare = make_project("sqlite", tmp_path / "bare")
    assert states(bare, "owner") == ["missing"]


def test_an_audit_log_that_was_changed_and_an_old_schema(project: Project, monkeypatch) -> None:
    with writing(project.open_store().engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS audit_log_no_update")
        for (name,) in connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_log'"
        ).fetchall():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.execute(audit_log.update().values(action="nothing"))
    assert "row 1 was altered" in findings(project)["store"][0][1]
    monkeypatch.setattr(migrate, "newest_version", lambda: "9998")
    assert "understudy store upgrade" in findings(project)["store"][0][1]


@contextmanager
def plain(status: int, body: bytes) -> Iterator[str]:
    """A server without TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_addresses_without_tls_or_without_anybody(project: Project) -> None:
    with plain(200, b'{"status": "ok"}') as address:
        assert states(project, "labels", labels=f"http://{address}") == ["missing"]
        ((state, text),) = findings(project, gateway=f"https://{address}")["gateway"]
        assert state == "missing"
        assert "does not respond over TLS" in text
    assert states(project, "labels", labels="https://127.0.0.1:1") == ["missing"]


def test_on_the_command_line_it_ends_with_one(project: Project, capsys) -> None:
    assert main(["check-deployment", "--project", str(project.folder)]) == 1
    said = capsys.readouterr()
    assert "missing  backup:" in said.out
    assert "things are missing; see docs/deploy.md" in said.err
    assert main(["check-deployment", "--project", str(project.folder), "--labels", "nonsense"]) == 2


def test_nothing_missing_is_said(project: Project, monkeypatch) -> None:
    monkeypatch.setattr(module, "_findings", lambda config: iter([("ok", "files", "fine")]))
    assert check_deployment(CheckDeploymentConfig(project=project.folder)).endswith(
        "nothing is missing"
    )
