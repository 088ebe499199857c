"""Each trainer and the rollout engine on a GPU give what they give on a CPU, within rounding."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import make_policy, save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.engines.generation import generate
from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.kto.config import KTOConfig
from understudy.kto.train import train_kto
from understudy.ppo.train import train_ppo
from understudy.raft.config import RAFTConfig
from understudy.raft.train import train_raft
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft

pytestmark = pytest.mark.gpu

DEVICES = ("cpu", "cuda")
GROUPS: dict[str, Any] = {
    "rloo": (RLOOConfig, train_rloo),
    "grpo": (GRPOConfig, train_grpo),
    "raft": (RAFTConfig, train_raft),
}
OFFLINE: dict[str, Any] = {"dpo": (DPOConfig, train_dpo), "kto": (KTOConfig, train_kto)}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def column(run: Path, name: str) -> list[float]:
    return [row[name] for row in metrics(run) if name in row]


@pytest.fixture
def model(tmp_path: Path) -> str:
    save_model_folder(tmp_path / "model")
    return str(tmp_path / "model")


def test_sft(model: str, tmp_path: Path) -> None:
    data = write_demonstrations(tmp_path / "demonstrations.jsonl")
    cpu, gpu = (
        train_sft(
            SFTConfig(
                model=model, data=data, out=tmp_path / device, epochs=2, batch_size=4, lr=1e-3,
                dropout=0.0, device=device,
            )
        )
        for device in DEVICES
    )  # fmt: skip
    assert column(gpu, "sft/loss") == pytest.approx(column(cpu, "sft/loss"), rel=1e-3)


def test_reward(model: str, tmp_path: Path) -> None:
    data = write_rankings(tmp_path / "rankings.jsonl")
    cpu, gpu = (
        train_reward(
            RewardConfig(
                model=model, data=data, out=tmp_path / device, batch_size=4, lr=1e-3, device=device
            )
        )
        for device in DEVICES
    )
    assert column(gpu, "reward/loss") == pytest.approx(column(cpu, "reward/loss"), rel=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
def test_ppo_starts_at_ratio_one(tmp_path: Path, bf16: bool) -> None:
    world = write_world(tmp_path / "world")
    run = train_ppo(tiny_config(world, tmp_path / "run", device="cuda", bf16=bf16))
    bound = 0.05 if bf16 else 1e-3
    assert max(column(run, "ppo/first_ratio_error")) < bound
    assert column(run, "ppo/kl")[0] == pytest.approx(0.0, abs=bound)


def test_ppo_scores_as_on_a_cpu(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    cpu, gpu = (
        train_ppo(tiny_config(world, tmp_path / device, device=device)) for device in DEVICES
    )
    assert column(gpu, "ppo/score")[0] == pytest.approx(column(cpu, "ppo/score")[0], rel=0.05)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_score_as_on_a_cpu(tmp_path: Path, name: str) -> None:
    world = write_world(tmp_path / "world")
    del world["pretrain_data"]
    config, train = GROUPS[name]
    settings: dict[str, Any] = world | dict(
        episodes=32, batch_size=16, responses_per_prompt=4, lr=3e-3, max_response_tokens=6
    )
    cpu, gpu = (
        train(config(out=tmp_path / device, device=device, **settings)) for device in DEVICES
    )
    assert max(column(gpu, f"{name}/first_ratio_error")) < 1e-3
    scores = (column(run, f"{name}/score")[0] for run in (gpu, cpu))
    assert next(scores) == pytest.approx(next(scores), rel=0.05)


@pytest.mark.parametrize("name", OFFLINE)
def test_training_on_labels_alone(model: str, tmp_path: Path, name: str) -> None:
    data = write_rankings(tmp_path / "rankings.jsonl")
    config, train = OFFLINE[name]
    settings: dict[str, Any] = dict(model=model, data=data, batch_size=4, lr=1e-3)
    cpu, gpu = (
        train(config(out=tmp_path / device, device=device, **settings)) for device in DEVICES
    )
    assert column(gpu, f"{name}/loss") == pytest.approx(column(cpu, f"{name}/loss"), rel=1e-3)


def test_greedy_responses_equal_those_of_a_cpu() -> None:
    policy = make_policy()
    prompts = [[5, 6, 7], [9], [4, 8, 4, 8, 4]]
    options: dict[str, Any] = dict(max_new_tokens=12, greedy=True, seed=0, stop_ids=[1], pad_id=0)
    cpu, gpu = (generate(policy.to(torch.device(d)), prompts, **options) for d in DEVICES)
    assert [one.ids for one in gpu] == [one.ids for one in cpu]
    for mine, theirs in zip(gpu, cpu, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)
