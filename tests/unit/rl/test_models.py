"""The networks of a trainer that samples: in bf16, what does not learn is stored in it; with
adapters, all can share one base."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fixtures_ppo import (
    counting_reward_model,
    random_policy,
    tiny_config,
    word_tokenizer,
    write_world,
)
from tests.stopping import check_resume_is_exact

from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import job_of
from understudy.loop.planner.memory import phases_of
from understudy.models import compute
from understudy.models.lora import adapter_off, add_adapter, merged_weights
from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel, load_scalar
from understudy.ppo.state import load_critic, new_state
from understudy.ppo.train import train_ppo
from understudy.records import file_hash
from understudy.rl.models import load_models
from understudy.rl.prompts import read_both
from understudy.rl.stopping import load_judge
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.training.run import read_lines

IDS_BT = torch.tensor([[5, 9, 2, 7, 3, 4], [8, 8, 6, 4, 1, 1]])
MASK_BT = (IDS_BT != 1).long()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """With a second reward model and a judge."""
    folder = tmp_path_factory.mktemp("world")
    inputs = write_world(folder)
    for name in ("member", "judge"):
        counting_reward_model(2.0).save(folder / name, word_tokenizer())
    (folder / "held_out.jsonl").write_bytes(inputs["prompts"].read_bytes())
    several = {"reward_ensemble": (folder / "member",), "judge": folder / "judge"}
    return inputs | several | {"eval_prompts": folder / "held_out.jsonl"}


def half(world, out, **changes):
    settings = dict(bf16=True, device="cpu", episodes=16, eval_every=2)
    return tiny_config(world, out, **(settings | changes))


def stored(model) -> set[torch.dtype]:
    """The precisions of the layers' matrices."""
    return {w.dtype for one in compute.products_of(model) for w in one.parameters()}


def test_in_bf16_what_learns_is_held_in_fp32_and_nothing_else(world, tmp_path):
    config = half(world, tmp_path / "run")
    models = load_models(config, "ppo")
    critic = load_critic(config, models)
    judge = load_judge(config, read_both(config, models)[1], models.ranks).model
    for model in (models.reference, models.reward_model, *models.members, judge):
        assert stored(model) == {torch.bfloat16}
        assert not any(weight.requires_grad for weight in model.parameters())
    for model in (models.policy, critic):
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    here, _ = models.policy.logprobs(IDS_BT, MASK_BT)
    there, _ = models.reference.logprobs(IDS_BT, MASK_BT)
    assert torch.equal(here, there), "the KL at the start is 0"


def outcome(out: Path) -> tuple:
    rows = read_lines(out / "metrics.jsonl")
    kept = [{k: v for k, v in row.items() if "second" not in k and k != "time"} for row in rows]
    names = [name for name in ("model", "adapter", "samples.jsonl") if (out / name).exists()]
    return kept, [file_hash(out / name) for name in names]


@pytest.mark.parametrize(
    "lora_rank", [pytest.param(0, marks=pytest.mark.thorough), 2], ids=["whole", "adapters"]
)
def test_the_storage_changes_no_bit_of_a_run(world, tmp_path, monkeypatch, lora_rank):
    """Nor of what is saved: an adapter is merged into the weights as they were."""
    found = train_ppo(half(world, tmp_path / "stored", lora_rank=lora_rank))
    monkeypatch.setattr(compute, "products_of", lambda model: ())
    expected = train_ppo(half(world, tmp_path / "fp32", lora_rank=lora_rank))
    assert outcome(found) == outcome(expected)


def test_a_base_that_changed_meanwhile_is_refused_when_its_adapter_is_merged(world, tmp_path):
    copy = shutil.copytree(world["model"], tmp_path / "base")
    models = load_models(half(world, tmp_path / "run", lora_rank=2, model=copy), "ppo")
    merged_weights(models.policy.model)
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("q_proj.weight"))
    save_file(weights | {name: weights[name] + 1}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=rf"base has changed since .*{name}.*--resume"):
        merged_weights(models.policy.model)


@dataclass(frozen=True)
class Options:
    lora_rank: int = 2
    lora_alpha: float | None = None


@pytest.fixture(scope="module")
def adapted(world):
    """A reward model that is the policy's trunk with an adapter, and a head."""
    policy, tokenizer = load_policy(world["model"])
    model = ScalarModel.from_policy(policy, seed=4)
    add_adapter(model.trunk, Options(), seed=2)
    with torch.no_grad():
        for name, factor in model.named_parameters():
            if ".lora_B." in name:
                factor.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model.save(Path(world["model"]).with_name("adapted") / "model", tokenizer)


def sharing(world, adapted, out, **changes):
    inputs = {name: world[name] for name in ("model", "prompts", "pretrain_data")}
    settings = dict(lora_rank=2, share_base=True, device="cpu", lr=1e-2, critic_lr=1e-2)
    return tiny_config(inputs | {"reward_model": adapted}, out, **(settings | changes))


def test_a_run_on_one_base_is_the_run_on_two_but_for_rounding(world, adapted, tmp_path):
    """The merged weights are rounded sums; beside the base, products are added."""
    one, two = (
        read_lines(
            train_ppo(sharing(world, adapted, tmp_path / str(share), share_base=share))
            / "metrics.jsonl"
        )
        for share in (True, False)
    )
    assert one[0]["ppo/kl"] == pytest.approx(0, abs=1e-5)
    assert one[0]["ppo/first_ratio_error"] < 1e-4
    for name in ("score", "raw_score", "kl", "value_loss", "policy_loss", "critic_grad_norm"):
        assert one[0][f"ppo/{name}"] == pytest.approx(two[0][f"ppo/{name}"], rel=1e-4, abs=1e-6)


def test_without_a_critic_the_base_is_shared_too(world, adapted, tmp_path):
    inputs = {name: world[name] for name in ("model", "prompts")} | {"reward_model": adapted}
    settings = dict(episodes=8, batch_size=8, lora_rank=2, max_response_tokens=6, device="cpu")
    one, two = (
        RLOOConfig(**inputs, **settings, share_base=share, out=tmp_path / str(share))
        for share in (True, False)
    )
    models = load_models(one, "rloo")
    base = {weight.data_ptr() for weight in models.policy.trunk.parameters()}
    assert {weight.data_ptr() for weight in models.reward_model.trunk.parameters()} <= base
    one, two = (read_lines(train_rloo(config) / "metrics.jsonl")[0] for config in (one, two))
    for name in ("score", "raw_score", "kl", "policy_loss", "grad_norm"):
        assert one[f"rloo/{name}"] == pytest.approx(two[f"rloo/{name}"], rel=1e-4, abs=1e-6)


def test_on_one_base_each_network_computes_what_it_did(world, adapted, tmp_path):
    models = load_models(sharing(world, adapted, tmp_path / "run"), "ppo")
    here, _ = models.policy.logprobs(IDS_BT, MASK_BT)
    with adapter_off(models.reference):
        there, _ = models.reference.logprobs(IDS_BT, MASK_BT)
    assert torch.equal(here, there), "the KL at the start is 0"
    last_B = MASK_BT.sum(1) - 1
    found = models.reward_model.scores(IDS_BT, MASK_BT, last_B)
    merged, _ = load_scalar(adapted)
    expected = merged.scores(IDS_BT, MASK_BT, last_B)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plain = ScalarModel.from_policy(random_policy())
    plain.head.load_state_dict(merged.head.state_dict())
    assert (plain.scores(IDS_BT, MASK_BT, last_B) - expected).abs().max() > 1e-2


@pytest.mark.thorough
def test_a_run_on_one_base_resumes_to_the_bit(world, adapted, tmp_path):
    check_resume_is_exact(train_ppo, sharing(world, adapted, tmp_path / "run"), 3)


def test_another_base_and_a_lost_adapter_are_refused(world, adapted, tmp_path):
    alone = shutil.copytree(adapted, tmp_path / "alone" / "model")
    with pytest.raises(ValueError, match=f"cannot share a base: there is no {alone.parent}"):
        load_models(sharing(world, alone, tmp_path / "run"), "ppo")
    other = tmp_path / "other"
    random_policy(seed=1).model.save_pretrained(other)
    word_tokenizer().save_pretrained(other)
    config = sharing(world | {"model": str(other)}, adapted, tmp_path / "run")
    with pytest.raises(ValueError, match=r"it is not that model plus .*, since they differ in"):
        load_models(config, "ppo")
    with pytest.raises(ValueError, match="share_base is given, but has no effect without lora"):
        sharing(world, adapted, tmp_path / "run", lora_rank=0)


CASES = {
    "whole": {},
    "adapters": dict(lora_rank=2),
    "one base": dict(lora_rank=2, share_base=True),
}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_the_plan_counts_to_the_byte_what_a_run_holds(world, adapted, tmp_path, bf16, case):
    settings = dict(lora_rank=0, share_base=False) | CASES[case] | dict(bf16=bf16)
    config = sharing(world, adapted, tmp_path / "run", **settings)
    models = load_models(config, "ppo")
    critic = load_critic(config, models)
    networks = (models.policy, models.reference, models.reward_model, critic)
    held = [weight for model in networks for weight in model.parameters()]
    fixed = [b for n, b in critic.trunk.named_buffers() if n.endswith((".down", ".up"))]
    weights = {tensor.data_ptr(): tensor.nbytes for tensor in (*held, *fixed)}
    words = [*(("--bf16",) if bf16 else ()), "--lora-rank", str(settings["lora_rank"])]
    words += ["--share-base"] if settings["share_base"] else []
    plan = PlanConfig(model=config.model, stage="ppo", memory=1, command=tuple(words))
    phases = phases_of(job_of(plan), lambda network, one: 0)
    assert sum(phases["load"].values()) == sum(weights.values())
    average = new_state(config, models, critic).average
    assert phases["score"]["moving average"] == sum(one.nbytes for one in average.values())
