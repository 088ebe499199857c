"""A 1.3B-parameter Llama with random weights through SFT, reward model and PPO-ptx on one GPU.

    python benchmarks/gpu.py [--size 1.3b] [--peak-tflops 989] [--bandwidth-tbs 3.35]

Needs a CUDA device with 80 GB and 64 GB of disk for the models it writes; `--size tiny --device
cpu` only tests the script. The defaults of the peaks are an H100's (dense bf16; HBM3). Writes
benchmarks/gpu.json: tokens per second and share of the peak rate (MFU, recomputed activations not
counted) per trainer, and for the rollouts the share of the bound by memory bandwidth, at which a
decode step reads every weight once in bf16.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines
from workload import Workload

SIZES = {
    "1.3b": Workload(2048, 24, 16, vocab_size=32_000, prompt_tokens=256, response_tokens=256),
    "tiny": Workload(64, 2, 2, vocab_size=512, prompt_tokens=16, response_tokens=16),
}


def main() -> None:
    """Run the three trainers and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1.3b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peak-tflops", type=float, default=989.0)
    parser.add_argument("--bandwidth-tbs", type=float, default=3.35)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("gpu.json"))
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(
            "no CUDA device here; this needs one with 80 GB. `--size tiny --device cpu` tests the "
            "script; `make bench` measures on a CPU"
        )
    work = SIZES[options.size]
    batch = 64 if options.size == "1.3b" else 8
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(work, Path(folder), options.device, batch)
    peak, bandwidth = options.peak_tflops * 1e12, options.bandwidth_tbs * 1e12
    parameters = figures["parameters"]
    for stage in ("sft", "reward"):
        figures[f"{stage}_mfu"] = 6 * parameters * figures[f"{stage}_tokens_per_s"] / peak
    bound = 2 * parameters / bandwidth  # seconds of a decode step that only reads the weights
    figures["rollout_share_of_bandwidth"] = bound / figures["rollout_seconds_per_step"]
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu"
    results = {"device": name, "size": options.size, "figures": figures}
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def measure(work: Workload, folder: Path, device: str, batch: int) -> dict[str, float]:
    """Rates of the three trainers, without the first step of each."""
    models = work.save_models(folder)
    common: dict[str, Any] = dict(
        device=device, bf16=True, activation_checkpointing=True, micro_batch_tokens=16_384
    )
    length = work.prompt_tokens + work.response_tokens
    sft = train_sft(
        SFTConfig(
            model=models["model"],
            data=work.save_demonstrations(folder / "d.jsonl", 3 * 32),
            out=folder / "sft",
            epochs=1,
            dropout=0.0,
            **common,
        )
    )
    reward = train_reward(
        RewardConfig(
            model=models["model"],
            data=work.save_rankings(folder / "r.jsonl", 3 * 16, size=9),
            out=folder / "rm",
            batch_size=16,
            **common,
        )
    )
    (folder / "text.txt").write_text(" ".join(["w9 w10 w11 w12"] * 64 * length))
    ppo = train_ppo(
        PPOConfig(
            **models,
            prompts=work.save_prompts(folder / "p.jsonl", 3 * batch),
            pretrain_data=folder / "text.txt",
            ptx_length=length,
            episodes=3 * batch,
            batch_size=batch,
            max_response_tokens=work.response_tokens,
            out=folder / "ppo",
            **common,
        )
    )
    # A ranking of 9 responses computes its prompt once.
    tokens_per_pair = (work.prompt_tokens + 9 * work.response_tokens) / 36
    rollout = _median(ppo, "ppo/seconds_rollout")
    return {
        "parameters": float(sum(p.numel() for p in work.policy().parameters())),
        "sft_tokens_per_s": _median(sft, "sft/tokens_per_second"),
        "reward_pairs_per_s": _median(reward, "reward/pairs_per_second"),
        "reward_tokens_per_s": _median(reward, "reward/pairs_per_second") * tokens_per_pair,
        "ppo_ptx_episodes_per_s": _median(ppo, "ppo/episodes_per_second"),
        "rollout_tokens_per_s": batch * work.response_tokens / rollout,
        "rollout_seconds_per_step": rollout / work.response_tokens,
        "rollout_share_of_iteration": rollout * _median(ppo, "ppo/episodes_per_second") / batch,
    }


def _median(run: Path, metric: str) -> float:
    return statistics.median(row[metric] for row in read_lines(run / "timings.jsonl")[1:])


if __name__ == "__main__":
    main()
