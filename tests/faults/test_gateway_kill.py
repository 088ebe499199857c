"""A gateway that is killed under load has every prompt in its log that it acknowledged."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from tests.gateways import FakeUpstream, make_key, running
from tests.stores import make_project

from understudy.store.log import PromptLog


def start(folder: Path, upstream: str) -> tuple[subprocess.Popen, str]:
    """`understudy serve` in a process of its own, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "understudy.cli", "serve", "--project", str(folder)]
    command += ["--upstream", f"{upstream}/v1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"serving")
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx2.get(f"{url}/health", trust_env=False)
        except httpx2.TransportError:
            assert process.poll() is None
        else:
            return process, url


def ask_until_it_ends(url: str, key: str, name: str, acknowledged: list[str]) -> None:
    with httpx2.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        for number in range(10**6):
            text = f"{name}-{number}"
            body = {"model": "understudy", "messages": [{"role": "user", "content": text}]}
            try:
                reply = client.post(f"{url}/v1/chat/completions", json=body)
            except httpx2.TransportError:
                return
            if reply.status_code == 200:
                acknowledged.append(text)


@pytest.mark.parametrize(
    "kills", [2, pytest.param(25, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_acknowledged_prompt_is_lost(tmp_path: Path, kills: int) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann", requests_per_minute=10**9, tokens_per_day=10**9)
    acknowledged: list[str] = []
    with running(FakeUpstream()) as upstream:
        for kill in range(kills):
            process, url = start(project.folder, upstream)
            threads = [
                threading.Thread(
                    target=ask_until_it_ends, args=(url, key, f"{kill}-{k}", acknowledged)
                )
                for k in range(6)
            ]
            before = len(acknowledged)
            for thread in threads:
                thread.start()
            while len(acknowledged) < before + 10 + 17 * kill % 40:
                time.sleep(0.001)  # yields to the threads; the count decides, not the clock
            process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
            process.wait()
            process.stdout.close()
    log = PromptLog(project.log)
    assert log.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    said = [
        event.body["prompts"][0][0]["content"]
        for _, event in log.events()
        if event.kind == "prompt"
    ]
    log.close()
    assert len(acknowledged) >= 10 * kills
    assert set(acknowledged) <= set(said)
    assert len(said) == len(set(said))
