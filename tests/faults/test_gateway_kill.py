"""A gateway that is killed under load, whole or one worker of it, has every acknowledged prompt in
its log, once."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx2
import pytest
from tests.gateways import FakeUpstream, in_a_process, make_key, plain_client, running
from tests.stores import make_project

from understudy.store.prompts.log import PromptLog


def start(folder: Path, upstream: str, workers: int) -> tuple[subprocess.Popen, str]:
    """The gateway in a process of its own."""
    where = ("--project", str(folder), "--upstream", f"{upstream}/v1")
    return in_a_process("serve", *where, "--workers", str(workers))


def workers_of(process: subprocess.Popen) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def ask_until_it_ends(url: str, key: str, name: str, told: Event, acknowledged: list[str]) -> None:
    """Ask for one prompt after another, none twice, until told, or until nobody is there."""
    number = 0
    while not told.is_set():
        with plain_client(headers={"Authorization": f"Bearer {key}"}) as client:
            while not told.is_set():
                number += 1
                text = f"{name}-{number}"
                body = {"model": "understudy", "messages": [{"role": "user", "content": text}]}
                try:
                    reply = client.post(f"{url}/v1/chat/completions", json=body)
                except httpx2.ConnectError:
                    return
                except httpx2.TransportError:
                    break
                if reply.status_code == 200:
                    acknowledged.append(text)


@contextmanager
def load(url: str, key: str, name: str, acknowledged: list[str]) -> Iterator[None]:
    told = Event()
    threads = [
        Thread(target=ask_until_it_ends, args=(url, key, f"{name}-{k}", told, acknowledged))
        for k in range(6)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        told.set()
        for thread in threads:
            thread.join()


def wait_for(acknowledged: list[str], number: int) -> None:
    while len(acknowledged) < number:
        time.sleep(0.001)  # yields to the threads; the count decides, not the clock


def check_log(project, acknowledged: list[str]) -> None:
    log = PromptLog(project.log)
    assert log.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    said = [
        event.body["prompts"][0][0]["content"]
        for _, event in log.events()
        if event.kind == "prompt"
    ]
    log.close()
    assert set(acknowledged) <= set(said)
    assert len(said) == len(set(said))


KILLS = pytest.mark.parametrize(
    "kills", [2, pytest.param(25, marks=pytest.mark.slow)], ids=["few", "many"]
)


@KILLS
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_no_acknowledged_prompt_is_lost(tmp_path: Path, kills: int, workers: int) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann", requests_per_minute=10**9, tokens_per_day=10**9)
    acknowledged: list[str] = []
    with running(FakeUpstream()) as upstream:
        for kill in range(kills):
            process, url = start(project.folder, upstream, workers)
            with load(url, key, str(kill), acknowledged):
                wait_for(acknowledged, len(acknowledged) + 10 + 17 * kill % 40)
                process.send_signal(signal.SIGSTOP)  # so that no worker takes another's place
                for worker in workers_of(process):
                    os.kill(worker, signal.SIGKILL)
                process.kill()
            process.communicate()
    assert len(acknowledged) >= 10 * kills
    check_log(project, acknowledged)


@pytest.mark.thorough
@KILLS
def test_a_killed_worker_loses_nothing_and_the_gateway_goes_on(tmp_path: Path, kills: int) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann", requests_per_minute=10**9, tokens_per_day=10**9)
    acknowledged: list[str] = []
    with running(FakeUpstream()) as upstream:
        process, url = start(project.folder, upstream, workers=2)
        try:
            with load(url, key, "one", acknowledged):
                for kill in range(kills):
                    wait_for(acknowledged, len(acknowledged) + 10 + 17 * kill % 40)
                    victim = workers_of(process)[kill % 2]
                    os.kill(victim, signal.SIGKILL)
                    line = process.stderr.readline().decode()
                    assert f"(process {victim}) was ended by SIGKILL" in line
                wait_for(acknowledged, len(acknowledged) + 10)
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")
    check_log(project, acknowledged)
