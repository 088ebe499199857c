"""Trainers and `sample` on a real vLLM server: tiny models, and SmolLM2 where it is there."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures_models import config_of, make_tokenizer
from tests.fixtures_real import SMOLLM2, needs_smollm2
from tests.vllm_server import SHAPE, VLLM
from transformers import LlamaModel

from understudy.engines.vllm import Server
from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.models.policies import load_tokenizer
from understudy.models.scalar import ScalarModel, scalar_from
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.raft.config import RAFTConfig
from understudy.raft.train import train_raft
from understudy.records import Prompt, Response, read_records, write_records
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo

pytestmark = pytest.mark.vllm

PARITY = 2e-5
ON_SMOLLM2 = 2e-4
"""In fp32 its log-probs are up to 8e-5 from those in fp64, ours as well as vLLM's."""


@pytest.fixture
def inputs(vllm_server: VLLM, tmp_path: Path) -> dict[str, Any]:
    """The served model, a reward model and prompts."""
    ScalarModel(LlamaModel(config_of("llama", **SHAPE))).save(tmp_path / "reward", make_tokenizer())
    return {
        "model": str(vllm_server.model),
        "reward_model": tmp_path / "reward",
        "prompts": write_prompts(tmp_path / "prompts.jsonl"),
        "vllm": vllm_server.url,
    }


def write_prompts(path: Path) -> Path:
    texts = ["Name a prime number.", "Where does Anna live?", "List three foods.", "Who are you?"]
    prompts = [
        Prompt(id=f"p{i}", prompt=f"{i} {text}", user_id="u") for i, text in enumerate(texts)
    ]
    write_records(path, prompts)
    return path


SMALL: dict[str, Any] = dict(
    episodes=24, batch_size=8, num_minibatches=2, lr=3e-3, warmup_iterations=0, save_every=1,
    max_response_tokens=10,
)  # fmt: skip
PPO = SMALL | dict(ptx_coef=0.0, critic_lr=3e-3, ema=0.0, keep_checkpoints=True)


def logged(run: Path, name: str) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row[name] for row in rows if name in row]


def test_ppo_through_vllm(inputs: dict[str, Any], tmp_path: Path):
    held = write_prompts(tmp_path / "held.jsonl")
    run = train_ppo(
        PPOConfig(out=tmp_path / "run", eval_prompts=held, eval_every=1, **inputs | PPO)
    )
    errors = logged(run, "ppo/engine_error")
    assert len(errors) == 3
    assert max(errors) < PARITY
    assert max(logged(run, "ppo/first_ratio_error")) < 1e-5
    kl = logged(run, "ppo/kl")
    assert abs(kl[0]) < 1e-5
    assert min(map(abs, kl[1:])) > 1e-3  # the policy moved, and the server with it
    assert not (run / "rollout").exists()
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert abs(rows[0]["kl"]) < 1e-5


@pytest.mark.parametrize(
    ("config", "train"),
    [(RLOOConfig, train_rloo), (GRPOConfig, train_grpo), (RAFTConfig, train_raft)],
)
def test_methods_on_groups_through_vllm(config, train, inputs: dict[str, Any], tmp_path: Path):
    changes = dict(responses_per_prompt=4, lora_rank=2, temperature=0.8, num_minibatches=1)
    changes |= dict(missing_eos_score=None)
    run = train(config(out=tmp_path / "run", **inputs | SMALL | changes))
    stage = config.__name__.removesuffix("Config").lower()
    errors = logged(run, f"{stage}/engine_error")
    assert len(errors) == 3
    assert max(errors) < PARITY
    kl = logged(run, f"{stage}/kl")
    assert abs(kl[0]) < 1e-5 < abs(kl[2])  # the policy moved, and the server with it


def command(inputs: dict[str, Any], out: Path, **more: Any) -> list[str]:
    settings = {k: v for k, v in (inputs | PPO | more | {"out": out}).items() if v is not True}
    flags = [f"--{k.replace('_', '-')}" for k, v in (PPO | more).items() if v is True]
    words = [w for k, v in settings.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    return [sys.executable, "-m", "understudy.cli", "ppo", *words, *flags]


def ran(line: list[str]) -> tuple[int, str]:
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr


def test_a_killed_run_hands_its_weights_over_again(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "run"
    monkeypatch.setenv("UNDERSTUDY_CRASH_AT", "ppo/rollout@2")
    assert ran(command(inputs, out))[0] == -signal.SIGKILL
    monkeypatch.delenv("UNDERSTUDY_CRASH_AT")
    Server(inputs["vllm"]).load(inputs["model"], "of somebody else")
    code, said = ran(command(inputs, out, resume=True))
    assert code == 0, said
    errors = logged(out, "ppo/engine_error")
    assert len(errors) == 3
    assert max(errors) < PARITY


def test_several_ranks_share_a_server(inputs: dict[str, Any], tmp_path: Path):
    line = command(inputs, tmp_path / "run", episodes=16)
    code, said = ran([*line[:3], "launch", "--cards", "2", "--", *line[3:]])
    assert code == 0, said
    errors = logged(tmp_path / "run", "ppo/engine_error")
    assert len(errors) == 2
    assert max(errors) < PARITY


def test_weights_that_are_off_end_the_run_in_one_line(inputs: dict[str, Any], tmp_path: Path):
    code, said = ran(command(inputs, tmp_path / "run", vllm_tolerance=1e-12))
    assert code == 1
    assert "from the policy's, above vllm_tolerance 1e-12; serve with --dtype float32" in said
    assert "Traceback" not in said


def test_sample_through_vllm(inputs: dict[str, Any], tmp_path: Path):
    out = tmp_path / "responses.jsonl"
    line = [sys.executable, "-m", "understudy.cli", "sample", "--model", inputs["model"]]
    line += ["--prompts", str(inputs["prompts"]), "--out", str(out), "--vllm", inputs["vllm"]]
    code, said = ran([*line, "--max-response-tokens", "12", "--temperature", "0.9"])
    assert code == 0, said
    responses = list(read_records(out, Response))
    assert len({r.prompt_id for r in responses}) == 4
    assert len(responses) >= 4 * 4
    tokenizer = load_tokenizer(inputs["model"])
    assert all(r.logprob < 0 for r in responses)
    assert all(len(tokenizer(r.response)["input_ids"]) <= 40 for r in responses)


@needs_smollm2
def test_ppo_on_smollm2_through_vllm(tmp_path: Path):
    server = VLLM(tmp_path, tmp_path / "log.txt", SMOLLM2)
    try:
        tokenizer = load_tokenizer(SMOLLM2)
        scalar_from(SMOLLM2, 0)[0].save(tmp_path / "reward", tokenizer)
        server.wait_until_up()
        run = train_ppo(
            PPOConfig(
                model=str(SMOLLM2),
                reward_model=tmp_path / "reward",
                prompts=write_prompts(tmp_path / "prompts.jsonl"),
                out=tmp_path / "run",
                vllm=server.url,
                **PPO | dict(lr=1e-5, critic_lr=1e-5, episodes=12, batch_size=4, save_every=9),
            )
        )
    finally:
        server.kill()
    assert len(logged(run, "ppo/engine_error")) == 3
    assert max(logged(run, "ppo/engine_error")) < ON_SMOLLM2
    assert max(logged(run, "ppo/first_ratio_error")) < 1e-5
    kl = logged(run, "ppo/kl")
    assert abs(kl[0]) < 1e-5 < min(map(abs, kl[1:]))
