"""The main job on real input: hand-written files, any small Llama, the commands; no tiny world.

Settings are tiny, so that each command takes seconds. What it proves is that the parts fit: files
in, documented files out, each the next one's input.
"""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
from tests.fixtures_models import save_model_folder

from understudy.cli import main

PROMPTS = [
    {"id": "p1", "prompt": "Name a prime.", "user_id": "u1", "split": "train"},
    {"id": "p2", "prompt": "List three foods.", "user_id": "u1", "split": "train"},
    {"id": "p3", "prompt": "Where does Anna live?", "user_id": "u2", "split": "train"},
    {"id": "p4", "prompt": "Say hello.", "user_id": "u3", "split": "test"},
    {"id": "p5", "prompt": "What is 2 + 2?", "user_id": "u4", "split": "test"},
]
DEMONSTRATIONS = [
    {"prompt": "Name a prime.", "response": "Seven is a prime number."},
    {"prompt": "List three foods.", "response": "Bread, cheese and soup."},
    {
        "prompt": [
            {"role": "user", "content": "Where does Anna live?"},
            {"role": "assistant", "content": "In Lund."},
            {"role": "user", "content": "And Ben?"},
        ],
        "response": "I do not know.",
    },
]
RANKINGS = [
    {"prompt": "Name a prime.", "responses": ["7", "9", "A cat"], "tiers": [[0], [1], [2]]},
    {"prompt": "Say hi.", "responses": ["Hi!", "No.", "Hello."], "tiers": [[0, 2], [1]]},
    {
        "prompt": "What is 2 + 2?",
        "responses": ["4", "22"],
        "tiers": [[0], [1]],
        "labeler_id": "l1",
    },
]
TEXT = "The cat sat on the mat.\n\nA dog ran to the old house by the river.\n" * 8


@dataclass
class Output:
    """What a command printed."""

    stdout: str
    stderr: str


def understudy(*arguments, expect: int = 0) -> Output:
    """Run a command line in this process (torch takes seconds to start); check its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    assert code == expect, out.getvalue() + err.getvalue()
    return Output(out.getvalue(), err.getvalue())


def write_rows(path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a user's files."""
    folder = tmp_path_factory.mktemp("own")
    save_model_folder(folder / "llama")
    write_rows(folder / "prompts.jsonl", PROMPTS)
    for split in ("train", "test"):
        write_rows(folder / f"{split}.jsonl", [p for p in PROMPTS if p["split"] == split])
    write_rows(folder / "demonstrations.jsonl", DEMONSTRATIONS)
    write_rows(folder / "rankings.jsonl", RANKINGS)
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def sft(work):
    understudy(
        *("sft", "--model", work / "llama", "--data", work / "demonstrations.jsonl"),
        *("--out", work / "sft", "--epochs", "2", "--lr", "1e-3", "--batch-size", "2"),
    )
    return work / "sft"


@pytest.fixture(scope="module")
def reward(work, sft):
    understudy(
        *("reward", "--model", sft / "model", "--data", work / "rankings.jsonl"),
        *("--demonstrations", work / "demonstrations.jsonl", "--out", work / "reward"),
        *("--lr", "1e-3", "--batch-size", "2"),
    )
    return work / "reward"


@pytest.fixture(scope="module")
def ppo(work, sft, reward):
    understudy(
        *("ppo", "--model", sft / "model", "--reward-model", reward / "model"),
        *("--prompts", work / "train.jsonl", "--pretrain-data", work / "text.txt"),
        *("--ptx-coef", "1", "--ptx-length", "16", "--out", work / "ppo", "--episodes", "16"),
        *("--batch-size", "8", "--num-minibatches", "2", "--max-response-tokens", "8"),
    )
    return work / "ppo"


def test_a_users_error_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "understudy.cli", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"understudy: error: {tmp_path}/results.json does not exist")
    assert done.stderr.count("\n") == 1


def test_sft_leaves_a_run_folder_with_a_model(sft):
    for name in ("config.toml", "run.json", "metrics.jsonl", "results.json"):
        assert (sft / name).is_file()
    assert (sft / "model" / "model.safetensors").is_file()


def test_sample_draws_answers_to_rank(work, sft):
    out = work / "responses.jsonl"
    understudy(
        *("sample", "--model", sft, "--prompts", work / "prompts.jsonl", "--split", "train"),
        *("--out", out, "--max-response-tokens", "8"),
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["prompt_id"] for row in rows} == {"p1", "p2", "p3"}
    assert {row["model"] for row in rows} == {"sft"}
    for prompt in ("p1", "p2", "p3"):
        texts = [row["response"] for row in rows if row["prompt_id"] == prompt]
        assert 1 <= len(texts) <= 9
        assert len(set(texts)) == len(texts)  # identical ones are merged


def test_reward_reports_its_accuracy(reward):
    results = json.loads((reward / "results.json").read_text())
    assert results["chance"] == 0.5
    assert 0 <= results["seen_in_training"]["accuracy"]["rate"] <= 1


def test_ppo_leaves_an_averaged_policy(ppo):
    assert (ppo / "model" / "model.safetensors").is_file()
    lines = (ppo / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert abs(json.loads(lines[0])["ppo/first_ratio_error"]) < 1e-4


def test_evaluate_and_report_compare_the_models(work, sft, reward, ppo):
    understudy(
        *("evaluate", "--models", f"sft={sft / 'model'}", f"ppo={ppo / 'model'}"),
        *("--prompts", work / "test.jsonl", "--reward-model", reward / "model"),
        *("--text", work / "text.txt", "--max-response-tokens", "8", "--out", work / "eval"),
    )
    results = json.loads((work / "eval" / "results.json").read_text())
    rate = results["win_rates_vs_sft_reward_model"]["ppo"]
    assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1
    (work / "eval" / "report.html").unlink()
    understudy("report", work / "eval")
    assert "<html" in (work / "eval" / "report.html").read_text()


def test_chat_answers_side_by_side(sft, ppo):
    done = understudy("chat", sft, ppo, "--prompt", "Say hello.", "--max-new-tokens", "4")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{sft}: ")
    assert any(line.startswith(f"{ppo}: ") for line in lines)


def test_prompts_build_splits_by_user(work):
    understudy("prompts", "build", "--data", work / "prompts.jsonl", "--out", work / "built.jsonl")
    assert "splits" in (work / "built.report.json").read_text()
    assert (
        "5 prompts of 4 users"
        in understudy("prompts", "show", "--data", work / "prompts.jsonl").stdout
    )


def broken(work, name: str, line: int, **changes):
    """A copy of the demonstrations with one line changed; a field set to None is left out."""
    rows = [dict(row) for row in DEMONSTRATIONS]
    rows[line - 1] |= changes
    rows[line - 1] = {k: v for k, v in rows[line - 1].items() if v is not None}
    write_rows(work / name, rows)
    return work / name


def test_bad_input_gets_one_line_with_file_and_line(work, sft):
    (work / "no_tokenizer").mkdir()
    for name in ("config.json", "model.safetensors"):
        (work / "no_tokenizer" / name).write_bytes((work / "llama" / name).read_bytes())
    (work / "cut.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": ')
    data = work / "demonstrations.jsonl"
    missing = broken(work, "missing.jsonl", 2, response=None)
    cases = [
        (work / "llama", work / "none.jsonl", "1", "none.jsonl does not exist"),
        (work / "llama", missing, "2", "missing.jsonl line 2: field 'response' is missing"),
        (work / "llama", work / "cut.jsonl", "3", "cut.jsonl line 2: not valid JSON"),
        (work / "no_tokenizer", data, "4", "no_tokenizer has no tokenizer"),
        (work / "llama", data, "sft", "holds another run"),
    ]
    before = (sft / "run.json").read_text()
    for model, file, out, message in cases:
        errors = understudy(
            *("sft", "--model", model, "--data", file, "--out", work / out, "--lr", "5e-4"),
            expect=2,
        ).stderr
        assert message in errors
        assert errors.startswith("understudy: error: "), errors
        assert errors.count("\n") == 1, errors
    assert (sft / "run.json").read_text() == before
    assert (sft / "model" / "model.safetensors").is_file()
