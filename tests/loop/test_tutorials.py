"""The tutorials of docs/tutorials, step by step: their files are written and their commands run, on
a tiny model in MODEL's place."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
from tests.distributed.torchrun import Job
from tests.docs.pages import DOCS, ROOT, code_blocks, commands
from tests.fixtures_models import save_model_folder
from tests.gateways import plain_client
from tests.labeling_client import LabelingClient, work
from tests.web.site import free_port
from tests.web.team import Opinion

from understudy.cli import main
from understudy.records import Response
from understudy.store.project import open_project
from understudy.training.run import read_lines

SERVERS = ("label", "serve")
SMALLER = {"chat": ["--max-new-tokens", "4"], "sft": ["--epochs", "1"]}
"""What is cut to spend seconds; the last of two equal options counts."""


class Tutorial:
    """A page whose steps are run in the current folder."""

    def __init__(self, name: str) -> None:
        text = (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
        self.steps = re.split(r"^## ", text, flags=re.MULTILINE)[1:]

    def run(self, number: int, skip: tuple[str, ...] = SERVERS) -> str:
        """Write the files and run the commands of a step; what the commands printed."""
        step = self.steps[number - 1]
        for name, text in re.findall(r'^```json title="(.+?)"\n(.*?)^```', step, re.DOTALL | re.M):
            Path(name).write_text(text)
        printed = io.StringIO()
        with redirect_stdout(printed):
            for line in commands(step, "understudy"):
                words = shlex.split(line)[1:]
                if words[0] not in skip:
                    assert main([*words, *SMALLER.get(words[0], [])]) == 0, line
        return printed.getvalue()

    def server(self, number: int) -> list[str]:
        """The words of a step's command that serves."""
        lines = [line.split()[1:] for line in commands(self.steps[number - 1], "understudy")]
        (words,) = [words for words in lines if words[0] in SERVERS]
        return words


@contextmanager
def serving(words: list[str]) -> Iterator[str]:
    """A command that serves, in a process of its own on a free port; its address."""
    port = str(free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy.cli", *words, "--port", port],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()  # printed once the port is bound
        try:
            assert port in line, line
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode in (0, 130)


class Preferring(Opinion):
    """A labeler to whom the length of a response is everything."""

    def _quality(self, response: Response) -> int:
        return min(7, 1 + len(response.response) % 7)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.mark.slow  # README's quickstart runs the same commands
def test_your_own_model(folder: Path) -> None:
    save_model_folder(folder / "MODEL")
    tutorial = Tutorial("own-model")
    for number in range(1, len(tutorial.steps) + 1):
        printed = tutorial.run(number)
        if number == 1:
            assert "torch" in printed
    assert (folder / "runs" / "evaluation" / "report.html").exists()


@pytest.mark.slow  # tests/distributed starts two processes every day
def test_eight_cards(folder: Path) -> None:
    save_model_folder(folder / "MODEL")
    tutorial = Tutorial("eight-cards")
    tutorial.run(1)
    launched, continued = (
        shlex.split(line)[1:] for line in commands(tutorial.steps[3], "understudy")
    )
    (rehearsed,) = (shlex.split(line)[1:] for line in commands(tutorial.steps[1], "understudy"))
    ended = Job([sys.executable, "-m", "understudy.cli", *rehearsed], 600).wait()
    assert (ended.code, ended.stdout) == (0, "runs/rehearsal\n")
    job = Job([sys.executable, "-m", "understudy.cli", *launched], 600)
    metrics = folder / "runs" / "moved" / "metrics.jsonl"
    while job.process.poll() is None and not (metrics.exists() and read_lines(metrics)):
        time.sleep(0.05)
    os.killpg(job.process.pid, signal.SIGINT)  # as the terminal does
    ended = job.wait()
    assert ended.code == 75, ended.stderr
    assert "continue with: understudy launch --cards 2 -- sft" in ended.stderr
    stopped_at = len(read_lines(metrics))
    assert main(continued) == 0
    assert 0 < stopped_at < 400
    assert [row["step"] for row in read_lines(metrics)] == [*range(1, 401)]
    tutorial.run(5)


@pytest.mark.thorough
def test_your_own_labelers(folder: Path) -> None:
    save_model_folder(folder / "runs" / "sft" / "model")
    tutorial = Tutorial("own-labelers")
    tutorial.run(1)
    store = open_project(Path("my-project")).open_store()
    prompts = list(store.prompts())  # which user is in which split, the project's own key draws
    valid = [prompt for prompt in prompts if prompt.split == "valid"]
    # A valid prompt is an item for training labelers and one for held-out ones.
    assert f"rank: {len(prompts) + len(valid)} items added" in tutorial.run(2)
    links = tutorial.run(3).split()
    assert len(links) == 3
    with (
        serving(tutorial.server(4)) as url,
        plain_client(base_url=url, timeout=60) as http,
    ):
        client = LabelingClient(http)
        client.accept(links[1].partition("#")[2], name="Ann", password="four good words here")
        client.read_instructions()
        work(client, Preferring("Ann"))
    printed = tutorial.run(5)
    kept = {prompt.id: prompt.user_id for prompt in prompts if prompt.split != "test"}
    users = sorted(str(user) for user in kept.values())
    assert f"users: {len(users)}: {', '.join(users)}" in printed
    rows = [json.loads(line) for line in (folder / "rankings.jsonl").read_text().splitlines()]
    assert sorted(row["prompt_id"] for row in rows) == sorted(kept)


@pytest.mark.thorough
def test_from_a_served_model_to_a_dataset(folder: Path, monkeypatch) -> None:
    save_model_folder(folder / "runs" / "sft" / "model")
    tutorial = Tutorial("served-model")
    key = re.search(r"us-\S+", tutorial.run(1))[0]
    monkeypatch.setenv("UNDERSTUDY_KEY", key)
    (program,) = code_blocks(tutorial.steps[2], "python")
    with serving(tutorial.server(2)) as url:
        exec(program.replace("http://127.0.0.1:8000", url), {})
    assert "3 prompts" in tutorial.run(4)
    assert (folder / "prompts.jsonl").read_text().count("\n") == 3
    tutorial.run(5)
