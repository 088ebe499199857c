"""The gateway's log keeps what it has for as long as the project says, by a clock of the test's."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.gateways import FakeUpstream, plain_client, running
from tests.stores import make_project

from understudy.serving.app import build_app
from understudy.serving.expiry import DAY_SECONDS, Expiry
from understudy.serving.gateway import Settings
from understudy.serving.upstream import Upstream
from understudy.store.prompts.log import Event, PromptLog

CANARY = "canary 18e6b, which somebody asked"


class Days:
    """A clock that moves when somebody waits, and ends after some days."""

    def __init__(self, number: int) -> None:
        self.now, self.left = datetime(2026, 1, 10, tzinfo=UTC), number

    def clock(self) -> datetime:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.left -= 1
        if not self.left:
            raise EOFError


def fill(path: Path, number: int = 10) -> None:
    """A request on each day of January, each with an answer."""
    log = PromptLog(path)
    for day in range(1, number + 1):
        time = f"2026-01-{day:02}T12:00:00.000000+00:00"
        log.append(
            [
                Event("prompt", f"r{day}", "ann", time, {"prompts": [f"{day}: {CANARY}"]}),
                Event("answer", f"r{day}", "ann", time, {"responses": [f"{day}: {CANARY}"]}),
            ]
        )
    log.close()


def days_in(path: Path) -> list[str]:
    log = PromptLog(path)
    found = [event.request_id for _, event in log.events() if event.kind == "prompt"]
    log.close()
    return found


def keep(expiry: Expiry) -> None:
    try:
        asyncio.run(expiry.keep())
    except EOFError:
        return
    raise AssertionError("it does not end")


def test_every_day_a_day_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    fill(path)
    for days, left in ((1, range(6, 11)), (3, range(8, 11)), (20, [])):
        fake = Days(days)
        expiry = Expiry(path, 4, clock=fake.clock, pause=fake.pause)
        keep(expiry)
        assert days_in(path) == [f"r{day}" for day in left]
    assert expiry.board.total("deleted") == 6
    assert timedelta(seconds=DAY_SECONDS) == timedelta(days=1)
    for file in tmp_path.iterdir():
        assert b"18e6b" not in file.read_bytes(), file


def test_a_log_that_cannot_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "log.sqlite"
    fake = Days(1)
    expiry = Expiry(path, 4, clock=fake.clock, pause=fake.pause)
    keep(expiry)
    assert "missing" in expiry.state()["error"] or "unable" in expiry.state()["error"]
    path.parent.mkdir()
    fill(path)
    fake.left = 1
    keep(expiry)
    assert expiry.state() == {"days": 4, "deleted": 12, "error": None}


def test_the_gateway_applies_it_to_its_own_log(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    fill(project.log)
    settings = Settings(log=project.log, retention_days=30)  # by the machine's clock, long ago
    with running(FakeUpstream()) as address:
        backend = Upstream(f"{address}/v1", name="m")
        app = build_app(settings, project.open_store(), backend)
        with running(app) as url, plain_client(base_url=url, timeout=30) as http:
            while not (kept := http.get("/health").json()["log"]["retention"])["deleted"]:
                pass
    assert kept == {"days": 30, "deleted": 20, "error": None}
    assert days_in(project.log) == []
