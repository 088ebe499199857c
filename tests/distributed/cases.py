"""Runs that one process and several must end alike; run by torchrun, or called in one process. The
text of PPO is a file for one and packed for several.

Batches of rows of different lengths, in passes of 64 tokens: some steps have fewer passes than
there are ranks.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

import understudy.dpo.train as dpo
import understudy.kto.train as kto
import understudy.ppo.state as state
import understudy.reward.train as reward
import understudy.rl.models as rl
import understudy.sft.train as sft
import understudy.training.policy as policy
from understudy.dpo.config import DPOConfig
from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.kto.config import KTOConfig
from understudy.loop.text_pack import PackConfig, pack_text
from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, scalar_from
from understudy.ppo.train import train_ppo
from understudy.raft.config import RAFTConfig
from understudy.raft.train import train_raft
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.sft.config import SFTConfig
from understudy.training.ranks import join_ranks, leave_ranks

KINDS = ("llama", "llama_tied", "qwen2", "gpt_neox", "opt", "gpt2")
TEXT = dict(pretrain_fraction=0.3, pretrain_length=12)
TIES = dict(ties="model", margin=0.1, batch_size=5)
FEW: dict[str, dict] = {
    "sft-fp64": dict(kind="llama_tied", dropout=0.2, **TEXT),
    "reward-fp64": dict(kind="llama", **TIES),
    "kto-fp64": dict(kind="gpt2", batch_size=12, undesirable_weight=1.5),
    "ppo-fp64": dict(episodes=16, adaptive_kl_target=2.0, eval_every=1),
    "grpo-fp64": dict(inner_epochs=2),
}
"""What the everyday test runs, for 3 or 4 steps."""
MORE: dict[str, dict] = {
    "dpo-fp64": dict(kind="llama_tied", batch_size=5),
    "rloo-fp64": dict(num_minibatches=2),
    "raft-fp64": dict(beta=0.1),
    "sft-fp32": dict(kind="gpt2", dropout=0.0, dtype="float32", activation_checkpointing=True),
    "reward-fp32": dict(kind="gpt2", dtype="float32", batch_size=7),
}
"""What CI runs beside it."""
MANY = {
    f"sft-{kind}-{dtype}": dict(kind=kind, dtype=dtype, dropout=0.1, epochs=7, **TEXT)
    for kind in KINDS
    for dtype in ("float64", "float32")
} | {
    f"reward-{kind}-{dtype}": dict(kind=kind, dtype=dtype, epochs=5, **TIES)
    for kind in KINDS
    for dtype in ("float64", "float32")
}
MANY["dpo"] = dict(kind="llama", epochs=5, batch_size=5)
MANY["dpo-fp32"] = dict(kind="gpt2", dtype="float32", epochs=5, batch_size=7)
MANY["kto"] = dict(kind="llama_tied", epochs=5, batch_size=7)
MANY["kto-fp32"] = dict(kind="llama", dtype="float32", epochs=5, batch_size=9)
MANY["ppo"] = dict(ptx_coef=0.0, episodes=40)
MANY["ppo-ptx"] = dict(episodes=40, inner_epochs=2)
MANY["ppo-fp32"] = dict(episodes=16, dtype="float32", activation_checkpointing=True)
MANY["rloo"] = dict(episodes=160)
MANY["grpo-fp32"] = dict(episodes=80, dtype="float32", activation_checkpointing=True)
MANY["raft"] = dict(episodes=160, inner_epochs=2)
MANY["sft-bf16"] = dict(kind="llama", dropout=0.0, dtype="float32", bf16=True)
"""What the slow test runs, for 20 steps or more."""
TENSOR: dict[str, dict] = {
    "sft-tensor": dict(kind="llama_tied", dropout=0.2, **TEXT),
    "reward-tensor": dict(kind="llama", **TIES),
    "ppo-tensor": dict(episodes=16, adaptive_kl_target=2.0, eval_every=1),
}
"""The same with layers that two ranks split."""
SEVERAL = {"ppo-fp64": dict(rollout_ranks=2, cpu_offload=True)}
SEVERAL |= {name: dict(tensor_parallel=2) for name in TENSOR}
"""Settings that only several ranks get, and that change no result."""
GROUPS = {
    "rloo": (RLOOConfig, train_rloo),
    "grpo": (GRPOConfig, train_grpo),
    "raft": (RAFTConfig, train_raft),
}
"""Trainers on groups of responses."""


def prepare(folder: Path, cases: dict[str, dict]) -> None:
    """Models and data of the cases."""
    for kind in {case["kind"] for case in cases.values() if "kind" in case}:
        save_model_folder(folder / kind, kind)
    world = write_world(folder)
    text = (world["pretrain_data"],)
    pack_text(PackConfig(files=text, model=world["model"], out=folder / "text"))
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_rankings(folder / "valid.jsonl", count=6, seed=1, role="held_out")
    (folder / "sentences.txt").write_text("the cat sat on the mat\n\na dog ran to the house")


def train(folder: Path, out: Path, name: str, case: dict) -> Path:
    """One run of a case; the folder it leaves."""
    settings = dict(case)
    with precision(getattr(torch, settings.pop("dtype", "float64"))):
        return _train(folder, out, name, settings)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Trainers load their models in this precision, which no setting of theirs asks for."""
    load, scalar = partial(load_policy, dtype=dtype), partial(load_scalar, dtype=dtype)
    with (
        patch.object(policy, "load_policy", load),
        patch.object(rl, "load_policy", load),
        patch.object(rl, "load_scalar", scalar),
        patch.object(state, "load_scalar", scalar),
        patch.object(reward, "scalar_from", partial(scalar_from, dtype=dtype)),
    ):
        yield


def _train(folder: Path, out: Path, name: str, settings: dict) -> Path:
    if name.startswith("ppo"):
        world = dict(model=str(folder / "policy"), reward_model=folder / "reward")
        prompts = folder / "prompts.jsonl"
        text = folder / ("text" if out.name.startswith("several") else "text.txt")
        world |= dict(prompts=prompts, eval_prompts=prompts, pretrain_data=text)
        settings |= dict(micro_batch_tokens=40, eval_every=settings.get("eval_every", 2))
        return train_ppo(tiny_config(world, out, **settings))
    if (trainer := name.partition("-")[0]) in GROUPS:
        config, run = GROUPS[trainer]
        world = dict(model=str(folder / "policy"), reward_model=folder / "reward", out=out)
        prompts = folder / "prompts.jsonl"
        world |= dict(prompts=prompts, eval_prompts=prompts, eval_every=2, micro_batch_tokens=40)
        small = dict(episodes=16, batch_size=8, responses_per_prompt=4, inner_epochs=1, lr=3e-3)
        return run(config(**(world | small | dict(max_response_tokens=6) | settings)))
    kind, demos = settings.pop("kind"), folder / "demos.jsonl"
    common = dict(model=str(folder / kind), out=out, lr=1e-3, micro_batch_tokens=64)
    if name.startswith("sft"):
        if "pretrain_fraction" in settings:
            settings["pretrain_data"] = folder / "sentences.txt"
        common |= dict(epochs=1, batch_size=5, data=demos, valid_data=demos)
        return sft.train_sft(SFTConfig(**(common | settings)))
    common |= dict(data=folder / "rankings.jsonl", valid_data=folder / "valid.jsonl")
    if name.startswith("dpo"):
        return dpo.train_dpo(DPOConfig(**(common | settings)))
    if name.startswith("kto"):
        return kto.train_kto(KTOConfig(**(common | settings)))
    return train_reward(RewardConfig(demonstrations=demos, **(common | settings)))


def main(folder: Path, which: str, replicas: int, tensor: int = 1) -> None:
    ranks = join_ranks()
    for name, case in {"few": FEW | TENSOR, "more": MORE, "many": MANY}[which].items():
        if tensor > 1 and case.get("kind") == "gpt2":
            continue
        case = case | dict(replicas=replicas, tensor_parallel=tensor) | SEVERAL.get(name, {})
        train(folder, folder / f"several-{name}", name, case)
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
    leave_ranks()
