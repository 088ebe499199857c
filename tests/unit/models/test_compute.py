"""bf16 with fp32 master weights, activation checkpointing, devices: in every trainer."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import make_policy, save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.engines.generation import generate
from understudy.models.compute import checkpoint_activations, pick_device, place
from understudy.models.dropout import set_dropout
from understudy.ppo.train import train_ppo
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines


@dataclass(frozen=True)
class Options:
    device: str = "cpu"
    bf16: bool = False
    activation_checkpointing: bool = False


IDS_BT = torch.tensor([[5, 9, 200, 31, 7, 42], [8, 8, 1, 99, 3, 12]])
ONES_BT = torch.ones_like(IDS_BT)


def loss_and_gradient(model):
    torch.manual_seed(0)  # the same dropout
    logprobs_BT, _ = model.logprobs(IDS_BT, ONES_BT)
    (-logprobs_BT.sum()).backward()
    return logprobs_BT.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gpt_neox", "gemma2"])
def test_checkpointed_activations_change_no_bit_of_the_gradient(kind):
    model = make_policy(kind)
    other = copy.deepcopy(model)
    for each in (model, other):
        set_dropout(each, 0.2)
        each.train()
    checkpoint_activations(other)
    plain, again = loss_and_gradient(model), loss_and_gradient(other)
    torch.testing.assert_close(plain, again, rtol=0, atol=0)


def test_checkpointed_layers_keep_less(monkeypatch):
    kept = []
    for checkpointed in (False, True):
        model = make_policy("llama")
        if checkpointed:
            checkpoint_activations(model)
        sizes = []
        hooks = (lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t)
        with torch.autograd.graph.saved_tensors_hooks(*hooks):
            model.logprobs(IDS_BT, ONES_BT)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_bf16_rounds_products_and_leaves_the_weights(kind):
    model = make_policy(kind)
    exact, _ = model.logprobs(IDS_BT, ONES_BT)
    place(model, Options(bf16=True))
    rounded, gradient = loss_and_gradient(model)
    assert rounded.dtype == gradient.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert 1e-5 < (rounded - exact).abs().max() < 0.2
    assert torch.isfinite(gradient).all()


def test_the_rollout_engine_computes_as_the_trainer_does():
    model = make_policy("llama")
    place(model, Options(bf16=True))
    answers = generate(
        model, [[5, 9, 200], [31, 7]], max_new_tokens=8, seed=0, stop_ids=[], pad_id=1
    )
    for prompt, answer in zip([[5, 9, 200], [31, 7]], answers, strict=True):
        ids_1T = torch.tensor([[*prompt, *answer.ids]])
        logprobs_1T, _ = model.logprobs(ids_1T, torch.ones_like(ids_1T))
        found = logprobs_1T[0, len(prompt) :]
        torch.testing.assert_close(found, torch.tensor(answer.logprobs), rtol=0, atol=0.1)


def half(config):
    return replace(config, bf16=True, activation_checkpointing=True, device="cpu")


def saved_in_fp32(folder: Path) -> bool:
    return {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.float32}


@pytest.mark.thorough
def test_all_trainers_in_bf16_with_checkpointed_activations(tmp_path):
    base = str(save_model_folder(tmp_path / "base"))
    data = write_demonstrations(tmp_path / "d.jsonl")
    sft = SFTConfig(model=base, data=data, out=tmp_path / "sft", epochs=8, lr=3e-3, batch_size=4)
    losses = [row["sft/loss"] for row in read_lines(train_sft(half(sft)) / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 2
    rankings = write_rankings(tmp_path / "r.jsonl", 24)
    reward = RewardConfig(
        model=base, data=rankings, out=tmp_path / "rm", epochs=4, lr=3e-3, batch_size=8
    )
    rows = read_lines(train_reward(half(reward)) / "metrics.jsonl")
    assert rows[-1]["reward/loss"] < rows[0]["reward/loss"]
    ppo = tiny_config(write_world(tmp_path / "w"), tmp_path / "ppo")
    row = read_lines(train_ppo(half(ppo)) / "metrics.jsonl")[0]
    assert row["ppo/first_ratio_error"] < 0.05
    assert row["ppo/skipped_steps"] == 0
    assert all(saved_in_fp32(tmp_path / name / "model") for name in ("sft", "rm", "ppo"))


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "toaster"):
        with pytest.raises(ValueError, match=f"device is '{name}', which cannot be used"):
            pick_device(name)
