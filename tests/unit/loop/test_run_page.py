"""`understudy report RUN`: a training run's page, also of one that is not finished."""

import json
import re
from pathlib import Path

import pytest

from understudy.cli import main
from understudy.loop.run_page import curve_reading, result_rows


def put_run(folder: Path, stage: str, rows, *, status="done", samples=(), **config) -> Path:
    folder.mkdir()
    record = {
        "stage": stage, "status": status, "seed": 3, "code_version": "abc", "config": config,
        "inputs": {"data": {"path": "d.jsonl", "sha256": "0" * 64}},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    for name, lines in (("metrics", rows), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return folder


def page_of(folder: Path) -> str:
    assert main(["report", str(folder)]) == 0
    return (folder / "report.html").read_text()


@pytest.fixture
def ppo(tmp_path):
    (tmp_path / "held_out.jsonl").write_text('{"id": "p1", "prompt": "Say <hello>."}\n')
    rows = [
        {"step": n, "ppo/score": 0.1 * n, "ppo/kl": 2.0 * n, "ppo/eos_rate": 0.0, "ppo/lr": 1e-5}
        for n in (1, 2, 3)
    ]
    samples = [
        {"step": n, "prompt_id": "p1", "response": f"hello {n}", "score": float(n)}
        for n in (0, 1, 2, 3)
    ]
    return put_run(
        tmp_path / "ppo",
        "ppo",
        rows,
        samples=samples,
        eval_prompts=str(tmp_path / "held_out.jsonl"),
    )


def test_the_page_has_curves_with_readings_findings_and_samples(ppo):
    html = page_of(ppo)
    assert "ppo/score goes from 0.1 to 0.3." in html
    assert "no response ends by itself" in html
    assert "Say &lt;hello&gt;." in html
    steps = re.findall(r"<h4>step (\d)<span>score", html)
    assert steps == ["0", "2", "3"]
    assert not re.search(r"<script|src=|https?://(?!www\.w3)", html)


def test_curves_count_what_the_trainer_counts(ppo, tmp_path):
    assert "iteration</text>" in page_of(ppo)
    rows = [{"step": n, "dpo/accuracy": 0.5} for n in (1, 2)]
    html = page_of(put_run(tmp_path / "dpo", "dpo", rows, data="x", model="y"))
    assert "step</text>" in html
    assert "iteration</text>" not in html


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    html = page_of(put_run(tmp_path / "sft", "sft", [], status="running", data="x", model="y"))
    assert "running, 0 logged steps" in html
    assert "Nothing is logged yet." in html


def test_a_benchmark_does_not_go_with_it(ppo, capsys):
    assert main(["report", str(ppo), "--benchmark", str(ppo)]) == 2
    assert "--benchmark is for the report of an evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2.0, 1.0], "goes from 2 to 1."),
        ([1.0, 5.0, 2.0], "from 1 to 2, with its highest, 5, at step 1."),
    ],
)
def test_a_curve_in_one_sentence(values, words):
    assert curve_reading("ppo/kl", list(enumerate(values))).endswith(words)


def test_a_single_step_is_read_as_a_value():
    assert curve_reading("sft/loss", [(1, 2.0)]) == "sft/loss is 2 at its only step so far."


def test_results_have_a_row_each_with_intervals_and_rounded_numbers():
    accuracy = {"rate": 0.54166, "low": 0.4, "high": 0.68, "n": 9}
    results = {"valid": {"accuracy": accuracy, "bins": [0.52225, 1]}, "bias": 0.123456, "n": 3}
    assert list(result_rows(results)) == [
        ("valid, accuracy", "54% (40 to 68), n = 9"),
        ("valid, bins", "0.5222, 1"),
        ("bias", "0.1235"),
        ("n", "3"),
    ]
