"""Ours beside `generate` of transformers and, where their environments exist, beside TRL.

    python benchmarks/speed.py [--quick] [--only draw rollout ppo sft reward] [--off llama]

Writes benchmarks/results.json: every side's figure under `figures`, ours over theirs under
`ratios`, and the machine with its load average, without which the figures are meaningless. The
sides take turns, so that a machine that slows down slows both; rollouts are also measured in CPU
seconds of all cores (`_cpu`). OMP_NUM_THREADS applies to every side. TRL runs from environments
made by `make bench-peers` (.peers/trl-ppo and .peers/trl) with the scripts in ../shared/peers;
without them TRL's ratios are left out, and a printed line says so. `--off` does without one piece
of `models/cpu`, as `cpu_paths.py` does.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from cpu_paths import OFF
from understudy.engines.generation import generate, next_tokens
from understudy.engines.noise import num_numbers, stream_states, uniforms
from understudy.models.batching import pad
from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.policies import Policy
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.origin import code_version
from understudy.training.run import read_lines
from workload import EOS, EOS_MEAN_A_THIRD, EOS_NEVER, FIXED, PAD, RAGGED, Workload

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT.parent / "shared" / "peers"
ENVIRONMENTS = (ROOT / ".peers", SCRIPTS)

Figures = dict[str, float]


def main() -> None:
    """Run the chosen parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a test")
    parser.add_argument("--only", nargs="*", default=["draw", "rollout", "ppo", "sft", "reward"])
    parser.add_argument("--off", choices=sorted(OFF), help="a piece of models/cpu to do without")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args()
    scale = 0.1 if options.quick else 1.0
    for owner, name, value in OFF.get(options.off, ()):
        setattr(owner, name, value)
    load_before = os.getloadavg()
    figures: Figures = {"matmul_gflops": matmul_rate()}
    ratios: Figures = {}
    for name in options.only:
        {"draw": draws, "rollout": rollouts, "ppo": ppo, "sft": sft, "reward": reward}[name](
            figures, ratios, scale
        )
    results = {
        "figures": figures,
        "ratios": ratios,
        "machine": machine() | {"load_before": load_before, "load_after": os.getloadavg()},
        "quick": options.quick,
        "off": options.off,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def machine() -> dict[str, Any]:
    """The machine and software behind the figures."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "code": code_version(),
    }


def matmul_rate(size: int = 1024) -> float:
    """fp32 matrix products per second, in GFLOP/s: the bound of all figures."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    rates = []
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * size**3 / (time.perf_counter() - started) / 1e9)
    return max(rates)


# Rollouts


def draws(figures: Figures, ratios: Figures, scale: float) -> None:
    """Rows per second from logits to a token and its log-probability, sampled beside greedy."""
    rows, turns = 32, max(5, int(50 * scale))
    keep_freed_memory()
    for size in (49_153, 128_000):
        logits_BV = 3 * torch.randn(rows, size, generator=torch.Generator().manual_seed(0))
        states_B, steps_B = stream_states(0, [(i,) for i in range(rows)]), np.arange(rows)

        def ours(
            logits_BV: torch.Tensor = logits_BV, states_B: Any = states_B, steps_B: Any = steps_B
        ) -> int:
            numbers_BL = uniforms(states_B, steps_B, num_numbers(logits_BV.shape[1]))
            next_tokens(logits_BV.clone(), torch.from_numpy(numbers_BL))
            return rows

        def greedy(logits_BV: torch.Tensor = logits_BV) -> int:
            next_tokens(logits_BV.clone(), None)
            return rows

        for clock, rates in take_turns({"ours": ours, "greedy": greedy}, repeats=turns).items():
            record(figures, ratios, f"draw_{size}{clock}", "rows_per_s", rates, "greedy")


def rollouts(figures: Figures, ratios: Figures, scale: float) -> None:
    """Sampled tokens per second, at equal and at ragged lengths."""
    count = max(64, int(1024 * scale))
    cases = {
        "equal": (FIXED, EOS_NEVER, FIXED.response_tokens),
        "ragged": (RAGGED, EOS, EOS_MEAN_A_THIRD),
    }
    for name, (work, eos_id, longest) in cases.items():
        model, prompts = work.policy(), work.prompts(count)
        policy = Policy(model)
        sides = {
            "ours": lambda m=policy, p=prompts, e=eos_id, n=longest: _ours(m, p, e, n),
            "generate": lambda m=model, p=prompts, e=eos_id, n=longest: _theirs(m, p, e, n),
        }
        for clock, rates in take_turns(sides, repeats=3).items():
            record(figures, ratios, f"rollout_{name}{clock}", "tokens_per_s", rates, "generate")


def _ours(policy: Policy, prompts: list[list[int]], eos_id: int, longest: int) -> int:
    out = generate(policy, prompts, max_new_tokens=longest, seed=0, stop_ids=[eos_id], pad_id=PAD)
    return sum(len(response.ids) for response in out)


@torch.no_grad()
def _theirs(model: Any, prompts: list[list[int]], eos_id: int, longest: int) -> int:
    """Batches with as many rows as our engine has slots, padded on the left."""
    total = 0
    for start in range(0, len(prompts), 256):
        ids_BT, mask_BT = pad(prompts[start : start + 256], PAD, "left")
        out_BT = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=longest,
            do_sample=True,
            top_k=0,
            temperature=1.0,
            eos_token_id=None if eos_id == EOS_NEVER else eos_id,
            pad_token_id=PAD,
        )
        responses_BR = out_BT[:, ids_BT.shape[1] :]
        if eos_id == EOS_NEVER:
            total += responses_BR.numel()
        else:
            before = (responses_BR == eos_id).cumsum(1) - (responses_BR == eos_id).long()
            total += int((before == 0).sum())
    return total


CLOCKS = {"": time.perf_counter, "_cpu": time.process_time}
"""Wall-clock seconds, and CPU seconds of all cores, which are steadier on a busy machine."""


def take_turns(
    sides: dict[str, Callable[[], int]], repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Rates by clock and side, one warm-up and then in turns."""
    rates: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in sides} for clock in CLOCKS
    }
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            started = {clock: now() for clock, now in CLOCKS.items()}
            amount = side()
            for clock, now in CLOCKS.items():
                if repeat:
                    rates[clock][name].append(amount / (now() - started[clock]))
    return rates


def record(
    figures: Figures,
    ratios: Figures,
    name: str,
    unit: str,
    rates: dict[str, list[float]],
    other: str,
) -> None:
    """Medians of both sides, and the median of the turns' ratios."""
    for side, values in rates.items():
        if values:
            figures[f"{name}_{side}_{unit}"] = statistics.median(values)
    if rates.get(other):
        pairs = zip(rates["ours"], rates[other], strict=False)
        ratios[name] = statistics.median(mine / theirs for mine, theirs in pairs)
    print(name, {side: [round(v, 1) for v in values] for side, values in rates.items()}, flush=True)


# Trainers


def median_of(run: Path, metric: str) -> float:
    """Median over a run's steps except the first."""
    values = [row[metric] for row in read_lines(run / "timings.jsonl")][1:]
    return statistics.median(values)


def peer(
    environment: str, script: str, *arguments: str, scripts: Path = SCRIPTS
) -> dict[str, Any] | None:
    """The JSON line of a peer's script, or None where its environment is missing."""
    pythons = [folder / environment / "bin" / "python" for folder in ENVIRONMENTS]
    python = next((p for p in pythons if p.exists()), None)
    if python is None or not (scripts / script).exists():
        print(f"{environment}: no environment, its ratios are left out (make bench-peers)")
        return None
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(python), str(scripts / script), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def against(
    figures: Figures,
    ratios: Figures,
    name: str,
    unit: str,
    ours: Callable[[Path], float],
    theirs: tuple[str, ...],
) -> None:
    """Measure our trainer and the peer's script in turns, twice each."""
    rates: dict[str, list[float]] = {"ours": [], "trl": []}
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            rates["ours"].append(ours(Path(folder)))
        found = peer(*theirs)
        if found is not None:
            rates["trl"].append(float(found[unit]))
    record(figures, ratios, name, unit, rates, "trl")


def ppo(figures: Figures, ratios: Figures, scale: float) -> None:
    """Episodes per second of whole iterations at batch 512, checkpoints left out on both sides."""
    batch = 512 if scale == 1.0 else 64
    for name, work in (("fixed", FIXED), ("ragged", RAGGED)):

        def ours(folder: Path, work: Workload = work) -> float:
            episodes = 5 * batch
            config = PPOConfig(
                **work.save_models(folder),
                prompts=work.save_prompts(folder / "prompts.jsonl", episodes),
                out=folder / "run",
                ptx_coef=0.0,
                episodes=episodes,
                batch_size=batch,
                # Like the peer: sample all at once, and update on a minibatch in one pass.
                rollout_slots=batch,
                micro_batch_tokens=8192,
                lr=1e-5,
                max_response_tokens=work.response_tokens,
                save_every=1000,
            )
            return median_of(train_ppo(config), "ppo/episodes_per_second")

        flags = ["--episodes", str(5 * batch), "--batch", str(batch)]
        flags += ["--ragged"] if work.ragged else []
        theirs = ("trl-ppo", "trl_ppo.py", *flags)
        against(figures, ratios, f"ppo_{name}", "episodes_per_s", ours, theirs)
    rate = figures["ppo_fixed_ours_episodes_per_s"] * flops_per_episode(FIXED)
    figures["ppo_fixed_share_of_matmul_rate"] = rate / (figures["matmul_gflops"] * 1e9)


def flops_per_episode(work: Workload) -> float:
    """Multiply-adds, times two, in the linear maps: rollout, four forwards, two backwards."""
    layer = 4 * work.hidden_size**2 + 3 * 4 * work.hidden_size**2
    trunk, head = work.num_layers * layer, work.hidden_size * work.vocab_size
    length = work.prompt_tokens + work.response_tokens
    # Rollout, reference, reward model, critic: one forward each; policy and critic: 3 more each.
    return 2 * (length * trunk * (4 + 6) + work.response_tokens * head * (2 + 3))


def sft(figures: Figures, ratios: Figures, scale: float) -> None:
    """Tokens per second, padding not counted."""
    count = max(256, int(2048 * scale))
    for name, work in (("fixed", FIXED), ("ragged", RAGGED)):

        def ours(folder: Path, work: Workload = work) -> float:
            config = SFTConfig(
                model=work.save_models(folder)["model"],
                data=work.save_demonstrations(folder / "d.jsonl", count),
                out=folder / "run",
                epochs=1,
                lr=1e-4,
                batch_size=64,
                dropout=0.0,
            )
            return median_of(train_sft(config), "sft/tokens_per_second")

        flags = ["sft", "--examples", str(count)] + (["--ragged"] if work.ragged else [])
        theirs = ("trl", "trl_sft_reward.py", *flags)
        against(figures, ratios, f"sft_{name}", "tokens_per_s", ours, theirs)


def reward(figures: Figures, ratios: Figures, scale: float) -> None:
    """Pairs per second: 9 ranked responses to a prompt are 36 pairs; the peer knows only pairs."""
    count = max(64, int(256 * scale))

    def ours(folder: Path) -> float:
        config = RewardConfig(
            model=FIXED.save_models(folder)["model"],
            data=FIXED.save_rankings(folder / "r.jsonl", count, size=9),
            out=folder / "run",
            lr=1e-4,
            batch_size=16,
        )
        return median_of(train_reward(config), "reward/pairs_per_second")

    pairs = str(max(256, int(1024 * scale)))
    theirs = ("trl", "trl_sft_reward.py", "reward", "--pairs", pairs)
    against(figures, ratios, "reward_k9", "pairs_per_s", ours, theirs)


if __name__ == "__main__":
    main()
