"""LoRA in every trainer: frozen weights, the reference with the adapter off, resume, saving."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import make_policy, make_tokenizer, save_model_folder
from tests.fixtures_ppo import tiny_config, write_world
from transformers import AutoModel, AutoModelForCausalLM

from understudy.models.lora import adapter_off, add_adapter, has_adapter, weights_of
from understudy.models.policies import load_policy, save_policy
from understudy.models.scalar import ScalarModel, load_on, load_scalar
from understudy.ppo.state import load_critic, new_state
from understudy.ppo.train import train_ppo
from understudy.records import Demonstration, file_hash, read_records
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.rl.models import load_models
from understudy.sft.config import SFTConfig
from understudy.sft.data import encode_demonstrations
from understudy.sft.loss import backward_batch
from understudy.sft.train import train_sft
from understudy.training.checkpoint import load_checkpoint, tree_hash
from understudy.training.run import Run, read_lines

# peft's own PeftModel, which only these tests use, asks transformers under an older name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

IDS_BT = torch.tensor([[5, 9, 200, 31, 7, 42]])


@dataclass(frozen=True)
class Options:
    lora_rank: int = 4
    lora_alpha: float | None = None


def train_a_little(model):
    """Adapters that are not 0 any more."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "gpt2", "opt", "gpt_neox", "gemma2"])
def test_off_it_is_the_base_and_saved_it_is_a_plain_model(kind, tmp_path):
    save_model_folder(tmp_path / "base", kind)
    model, tokenizer = load_policy(tmp_path / "base")
    plain = model(IDS_BT).logits
    add_adapter(model.model, Options(), seed=1)
    assert torch.equal(model(IDS_BT).logits, plain)  # a product with 0
    train_a_little(model)
    tuned = model(IDS_BT).logits
    assert (tuned - plain).abs().max() > 0.1
    with adapter_off(model):
        assert torch.equal(model(IDS_BT).logits, plain)
    assert torch.equal(model(IDS_BT).logits, tuned)
    save_policy(model, tokenizer, tmp_path / "run" / "model")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert not has_adapter(merged)
    torch.testing.assert_close(merged(IDS_BT).logits, tuned, rtol=1e-4, atol=1e-5)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    beside = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter")
    torch.testing.assert_close(beside(IDS_BT).logits, tuned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama_tied", "gpt2", "opt"])
def test_a_reward_model_on_the_policys_weights_scores_as_it_does_merged(kind, tmp_path):
    save_model_folder(tmp_path / "base", kind)
    policy, tokenizer = load_policy(tmp_path / "base")
    scalar = ScalarModel.from_policy(policy, seed=3)
    add_adapter(scalar.trunk, Options(), seed=1)
    train_a_little(scalar)
    scalar.save(tmp_path / "run" / "model", tokenizer)
    merged, _ = load_scalar(tmp_path / "run" / "model")
    policy, _ = load_policy(tmp_path / "base")
    shared, _ = load_on(tmp_path / "run" / "model", policy)
    ones_BT = torch.ones_like(IDS_BT)
    found, expected = (model.values(IDS_BT, ones_BT) for model in (shared, merged))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (
        ScalarModel.from_policy(policy, 3).values(IDS_BT, ones_BT) - expected
    ).abs().max() > 1e-2
    of_policy = {weight.data_ptr() for weight in policy.trunk.parameters()}
    assert {weight.data_ptr() for weight in shared.trunk.parameters()} == of_policy


def test_the_seed_draws_the_adapter_and_nothing_else():
    state = torch.random.get_rng_state()
    models = [make_policy() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        add_adapter(model.model, Options(), seed)
    one, same, other = (tree_hash(weights_of(model)) for model in models)
    assert one == same != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_micro_batches_do_not_change_the_gradient(tmp_path):
    model, tokenizer = make_policy(), make_tokenizer()
    add_adapter(model.model, Options(), 0)
    train_a_little(model)
    rows = read_records(write_demonstrations(tmp_path / "d.jsonl"), Demonstration)
    examples = encode_demonstrations(
        tokenizer, rows, max_prompt_tokens=99, max_response_tokens=99, context=None, where=""
    ).rows
    gradients = []
    for budget in (1, 64, 4096):
        model.zero_grad()
        backward_batch(model, examples, 1, budget)
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
        )
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-5)


# The trainers


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    save_model_folder(folder / "base")
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_world(folder)
    return folder


def config_of(stage: str, world: Path, out: Path):
    common = dict(model=str(world / "base"), lora_rank=2, out=out, lr=1e-2, save_every=2)
    common["keep_checkpoints"] = True
    demos = world / "demos.jsonl"
    if stage == "sft":
        return SFTConfig(data=demos, valid_data=demos, epochs=3, batch_size=4, **common)
    if stage == "reward":
        data = world / "rankings.jsonl"
        return RewardConfig(data=data, demonstrations=demos, batch_size=2, **common)
    inputs = {
        "model": str(world / "policy"),
        "reward_model": world / "reward",
        "prompts": world / "prompts.jsonl",
        "pretrain_data": world / "text.txt",
    }
    return tiny_config(inputs, out, lora_rank=2, adaptive_kl_target=0.1, lr=1e-2, critic_lr=1e-2)


TRAIN = {"sft": train_sft, "reward": train_reward, "ppo": train_ppo}


class Stopped(Exception):
    pass


def outcome(out: Path) -> dict[str, str]:
    last = max((out / "checkpoints").iterdir(), key=lambda path: int(path.name[5:]))
    names = ("metrics.jsonl", "results.json", "model", "adapter")
    hashes = {name: file_hash(out / name) for name in names}
    return hashes | {name: tree_hash(tree) for name, tree in load_checkpoint(last)[0].items()}


@pytest.mark.parametrize(
    "stage",
    ["reward", *(pytest.param(stage, marks=pytest.mark.thorough) for stage in ("sft", "ppo"))],
)
def test_resume_is_bit_exact(stage, world, tmp_path, monkeypatch):
    config = config_of(stage, world, tmp_path / "straight")
    TRAIN[stage](config)
    other = replace(config, out=tmp_path / "stopped")
    log = Run.log

    def stop_at_step_4(run, step, metrics):
        log(run, step, metrics)
        if step == 4:
            raise Stopped

    monkeypatch.setattr(Run, "log", stop_at_step_4)
    with pytest.raises(Stopped):
        TRAIN[stage](other)
    monkeypatch.undo()
    TRAIN[stage](replace(other, resume=True))
    assert outcome(other.out) == outcome(config.out)


def test_sft_saves_the_base_plus_its_adapter(world, tmp_path):
    out = train_sft(config_of("sft", world, tmp_path / "run"))
    losses = [r["sft/loss"] for r in read_lines(out / "metrics.jsonl") if r["step"] > 0]
    assert losses[-1] < losses[0] - 0.1
    base = AutoModelForCausalLM.from_pretrained(world / "base")
    tuned = PeftModel.from_pretrained(base, out / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(out / "model")
    torch.testing.assert_close(merged(IDS_BT).logits, tuned(IDS_BT).logits, rtol=1e-4, atol=1e-4)
    trees, _ = load_checkpoint(max((out / "checkpoints").iterdir()))
    assert all("lora" in name for name in trees["model"])
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["r"] == 2


def test_a_reward_model_keeps_its_scores(world, tmp_path):
    out = train_reward(config_of("reward", world, tmp_path / "run"))
    scalar, _ = load_scalar(out / "model")
    base = AutoModel.from_pretrained(world / "base")
    trunk = PeftModel.from_pretrained(base, out / "adapter")
    hidden_BTD = trunk(IDS_BT).last_hidden_state
    expected_BT = scalar.read(hidden_BTD)
    found_BT = scalar.values(IDS_BT, torch.ones_like(IDS_BT))
    torch.testing.assert_close(found_BT, expected_BT, rtol=1e-4, atol=1e-4)


def frozen(model) -> dict[str, torch.Tensor]:
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return {n: w.clone() for n, w in model.state_dict().items() if n not in trained}


def loaded(config):
    models = load_models(config, "ppo")
    return models, load_critic(config, models)


def test_ppo_leaves_the_base_and_starts_at_kl_0(world, tmp_path, monkeypatch):
    config = config_of("ppo", world, tmp_path / "run")
    models, critic = loaded(config)
    assert models.reference is models.policy
    assert critic.trunk is models.reward_model.trunk
    before = frozen(models.policy) | {f"critic/{k}": v for k, v in frozen(critic).items()}
    head = models.reward_model.head.weight.clone()
    monkeypatch.setattr("understudy.ppo.train.load_models", lambda *_: models)
    monkeypatch.setattr("understudy.ppo.train.load_critic", lambda *_: critic)
    out = train_ppo(config)
    after = frozen(models.policy) | {f"critic/{k}": v for k, v in frozen(critic).items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(models.reward_model.head.weight, head)
    assert not torch.equal(critic.head.weight, head)
    rows = read_lines(out / "metrics.jsonl")
    assert rows[0]["ppo/kl"] == pytest.approx(0, abs=1e-5)
    assert all(row["ppo/first_ratio_error"] < 1e-4 for row in rows)  # sampled with the adapter
    assert rows[-1]["ppo/kl"] != pytest.approx(0, abs=1e-3)
    AutoModelForCausalLM.from_pretrained(out / "model")


def bytes_of(config) -> int:
    """Weights (each storage once), gradients, Adam's two moments, and the moving average."""
    models, critic = loaded(config)
    state = new_state(config, models, critic)
    every = (models.policy, models.reference, models.reward_model, critic)
    weights = {p.data_ptr(): p.nbytes for model in every for p in model.parameters()}
    trained = {p for model in every for p in model.parameters() if p.requires_grad}
    average = sum(tensor.nbytes for tensor in state.average.values())
    return sum(weights.values()) + 3 * sum(p.nbytes for p in trained) + average


def test_ppo_holds_two_trunks_and_not_four(world, tmp_path):
    config = config_of("ppo", world, tmp_path / "run")
    full = replace(config, lora_rank=0)
    policy = sum(p.nbytes for p in load_policy(config.model)[0].parameters())
    scalar = sum(p.nbytes for p in load_scalar(config.reward_model)[0].parameters())
    assert bytes_of(full) == (4 + 1 + 1) * policy + (4 + 1) * scalar
    models, critic = loaded(config)
    adapters = [sum(w.nbytes for w in weights_of(m).values()) for m in (models.policy, critic)]
    head = sum(p.nbytes for p in models.reward_model.head.parameters())
    assert bytes_of(config) == policy + 5 * adapters[0] + scalar + 4 * adapters[1]
    assert adapters[1] > head
