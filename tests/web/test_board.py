"""The board of runs in a real browser, while a run writes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.axe import check, looks
from tests.web.site import free_port

HOSTILE = "<img src=x onerror=alert(1)> and </td>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two finished runs and one that trains."""
    put_run(tmp_path / "ppo" / "first", "ppo", "running", {"beta": 0.02, "seed": 1})
    put_run(tmp_path / "ppo" / "second", "ppo", "done", {"beta": 0.1, "seed": 1})
    put_run(tmp_path / "sft", "sft", "done", {"lr": 1e-4})
    log(tmp_path / "ppo" / "first", "metrics", {"step": 1, "ppo/kl": 0.5, "ppo/score": 1.0})
    log(tmp_path / "ppo" / "second", "metrics", {"step": 1, "ppo/kl": 0.25})
    log(tmp_path / "sft", "metrics", {"step": 1, "sft/loss": 2.0})
    sample = {"step": 1, "prompt_id": "p1", "response": HOSTILE, "score": 0.5, "finished": True}
    log(tmp_path / "ppo" / "first", "samples", sample)
    return tmp_path


def put_run(path: Path, stage: str, status: str, config: dict[str, Any]) -> None:
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"stage": stage, "status": status, "config": config}))


def log(path: Path, name: str, row: dict[str, Any]) -> None:
    with (path / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "understudy.cli", "board", str(folder)]
    command += ["--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
        server.terminate()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(address)
    yield page
    context.close()
    assert not problems


def shown(page: Any, run: str) -> Any:
    from playwright.sync_api import expect

    return expect(page.locator(f'#runs li[data-name="{run}"] small'))


def test_every_run_is_listed_and_its_curves_follow(page: Any, folder: Path) -> None:
    from playwright.sync_api import expect

    shown(page, "ppo/first").to_have_text("ppo running, step 1")
    expect(page.locator("figure[data-metric='ppo/kl'] canvas")).to_be_visible()
    log(folder / "ppo" / "first", "metrics", {"step": 2, "ppo/kl": 0.75})
    shown(page, "ppo/first").to_have_text("ppo running, step 2")
    put_run(folder / "reward", "reward", "running", {})
    shown(page, "reward").to_have_text(re.compile("reward running"))


@pytest.mark.thorough
def test_a_run_that_went_back_to_a_checkpoint_is_read_anew(page: Any, folder: Path) -> None:
    first = folder / "ppo" / "first"
    for step in range(2, 6):
        log(first, "metrics", {"step": step, "ppo/kl": 1.0})
    shown(page, "ppo/first").to_have_text("ppo running, step 5")
    replacement = folder / "metrics.new"
    replacement.write_text(json.dumps({"step": 3, "ppo/kl": 0.5}) + "\n")
    replacement.replace(first / "metrics.jsonl")
    shown(page, "ppo/first").to_have_text("ppo running, step 3")


def test_samples_are_text_and_settings_that_differ_are_shown(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#samples-rows td").nth(1)).to_have_text(HOSTILE)
    page.locator('#runs li[data-name="sft"] input').uncheck()
    settings = page.locator("#settings-table")
    expect(settings).to_contain_text("beta")
    expect(settings).not_to_contain_text("seed")


def test_runs_and_metrics_can_be_chosen(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.locator("figure")).to_have_count(3)
    page.get_by_label("Show metrics with").fill("loss")
    expect(page.locator("figure")).to_have_count(1)
    page.locator('#runs li[data-name="sft"] input').uncheck()
    expect(page.locator("figure")).to_have_count(0)


@looks("dark")
def test_it_is_accessible_and_fits(browser: Any, address: str, scheme: str, width: int) -> None:
    from playwright.sync_api import expect

    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(address)
    expect(page.locator("figure")).to_have_count(3)
    check(page)
    context.close()
