"""Every architecture goes through SFT, reward and PPO-ptx, and its models load without us."""

from pathlib import Path

import pytest
import torch
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import MORE_KINDS, save_model_folder
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, score_ids
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.records import Demonstration, Prompt, read_records, write_records
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines

IDS = [5, 9, 200, 31, 7, 42]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    demonstrations = read_records(write_demonstrations(folder / "demos.jsonl", 4), Demonstration)
    write_rankings(folder / "rankings.jsonl", 4)
    prompts = [Prompt(id=d.id, prompt=d.prompt, user_id="u") for d in demonstrations]
    write_records(folder / "prompts.jsonl", prompts)
    (folder / "text.txt").write_text("The cat sat on the mat. A dog ran to the old house. " * 3)
    return folder


def same_logits(folder: Path) -> None:
    """Plain transformers and our loader agree on a saved policy."""
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    ours, _ = load_policy(folder)
    ids_1T = torch.tensor([IDS])
    assert torch.equal(plain(ids_1T).logits, ours(ids_1T).logits)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", MORE_KINDS)
def test_trained_by_all_three_and_loaded_by_transformers(kind, data, tmp_path):
    base = save_model_folder(tmp_path / "base", kind)
    common = dict(lr=1e-3, batch_size=4)
    sft = train_sft(
        SFTConfig(
            model=str(base),
            data=data / "demos.jsonl",
            pretrain_data=data / "text.txt",
            pretrain_fraction=0.2,
            pretrain_length=8,
            epochs=1,
            out=tmp_path / "sft",
            **common,
        )
    )
    reward = train_reward(
        RewardConfig(
            model=str(sft / "model"), data=data / "rankings.jsonl", out=tmp_path / "rm", **common
        )
    )
    ppo = train_ppo(
        PPOConfig(
            model=str(sft / "model"),
            reward_model=reward / "model",
            prompts=data / "prompts.jsonl",
            pretrain_data=data / "text.txt",
            ptx_length=8,
            ptx_sequences_per_episode=0.5,
            episodes=4,
            num_minibatches=2,
            max_response_tokens=6,
            out=tmp_path / "ppo",
            **common,
        )
    )
    row = read_lines(ppo / "metrics.jsonl")[0]
    assert row["ppo/first_ratio_error"] < 1e-4
    assert abs(row["ppo/kl"]) < 1e-4
    assert row["ppo/skipped_steps"] == 0
    same_logits(sft / "model")
    same_logits(ppo / "model")
    scalar, tokenizer = load_scalar(reward / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(reward / "model").eval()
    score = plain(torch.tensor([IDS])).logits.item() + plain.config.understudy_score_offset
    ours = score_ids(scalar, [IDS[:3]], [IDS[3:]], tokenizer.pad_token_id)[0]
    assert score == pytest.approx(ours, abs=1e-4)
