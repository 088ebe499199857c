"""What each hand-written piece for CPUs (`models/cpu`) is worth to the demo: CPU seconds with all
pieces, and with each one switched off alone.

    python benchmarks/cpu_paths.py [--turns 2] [--only direct llama]

SFT, the reward model and PPO-ptx run a few steps with the demo's recipe, and sampling runs too.
Each arm runs in its own process on one thread; arms take turns. User and system time, without that
of imports, is little disturbed by other jobs. "demo" weighs the parts by the recipe's [seconds];
stages that do not run here count as unchanged. Two networks side by side need two threads and a
quiet machine, and are not measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from understudy.engines import generation, rows
from understudy.engines.sampling import draw_responses
from understudy.loop.recipe import load_recipe
from understudy.models import compute, trunk
from understudy.models.cpu import llama
from understudy.models.policies import load_policy
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.records import Prompt, Response, read_records, write_records
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.world.bases import base_model_path
from understudy.world.world import World

RECIPE = load_recipe("demo")
PARTS = {
    "sft": ("sft", "rl_init"),
    "reward": ("reward",),
    "ppo": ("ppo", "ppo_ptx"),
    "sample": ("sample", "sampled_answers", "greedy_answers", "best_of_answers"),
}
"""The parts that are measured, and the demo's stages that each stands for."""


def none(*_: Any) -> None:
    """Replaces a function that looks for a faster path, and finds none."""


OFF: dict[str, list[tuple[Any, str, Any]]] = {
    "direct": [(trunk, "direct_pass", none)],
    "llama": [(rows, "direct_trunk", lambda one, *_: llama.library_trunk(one))],
    "allocator": [(compute, "keep_freed_memory", none), (generation, "keep_freed_memory", none)],
}
"""What to replace to switch each piece off."""


def write_data(folder: Path) -> None:
    """Prompts, demonstrations, rankings of what labelers wrote, and pages."""
    world = World(0)
    people = world.labelers("training")[:8]
    prompts = [replace(prompt, split="train") for prompt in world.user_prompts(60)][:256]
    demonstrations, rankings = [], []
    for prompt in prompts:
        wrote = [one for labeler in people if (one := labeler.demonstrate(prompt)) is not None]
        texts = list(dict.fromkeys(one.response for one in wrote))
        about = dict(prompt_id=prompt.id, prompt=prompt.prompt, model="m")
        shown = [Response(id=f"{prompt.id}/{i}", response=t, **about) for i, t in enumerate(texts)]
        demonstrations += wrote[:1]
        if len(texts) > 3 and (ranking := people[0].rank(prompt, shown)) is not None:
            rankings.append(ranking)
    write_records(folder / "prompts.jsonl", prompts)
    write_records(folder / "demonstrations.jsonl", demonstrations)
    write_records(folder / "rankings.jsonl", rankings)
    (folder / "text.txt").write_text("\n\n".join(world.corpus(300)))


def run_part(part: str, folder: Path, out: Path) -> None:
    """One part with the demo's settings."""
    model, prompts = str(base_model_path("1m")), folder / "prompts.jsonl"

    def settings(kind: Any, table: Any, **inputs: Any) -> Any:
        known = {field.name for field in fields(kind)}
        given = {k: v for k, v in table.items() if k in known}
        return kind(**(given | dict(out=out / part, device="cpu", model=model) | inputs))

    if part == "sft":
        data = folder / "demonstrations.jsonl"
        train_sft(settings(SFTConfig, RECIPE.sft, data=data, epochs=1))
    elif part == "reward":
        train_reward(settings(RewardConfig, RECIPE.reward, data=folder / "rankings.jsonl"))
    elif part == "ppo":
        inputs = dict(reward_model=out / "reward" / "model", pretrain_data=folder / "text.txt")
        inputs |= dict(prompts=prompts, episodes=256, eval_every=0)
        train_ppo(settings(PPOConfig, {**RECIPE.ppo, **RECIPE.ppo_ptx}, **inputs))
    else:
        policy, tokenizer = load_policy(model)
        asked = dict(num_samples=1, seed=0, max_new_tokens=48, model_name="m")
        draw_responses(policy, tokenizer, read_records(prompts, Prompt), **asked)


def one_arm(arm: str, folder: Path, out: Path) -> None:
    """Print the CPU seconds of each part in this process."""
    for owner, name, value in OFF.get(arm, ()):
        assert hasattr(owner, name), name
        setattr(owner, name, value)
    took = {}
    for part in PARTS:
        before = time.process_time()
        run_part(part, folder, out)
        took[part] = time.process_time() - before
    print(json.dumps(took))


def main() -> None:
    """Run all arms in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(OFF), choices=list(OFF))
    parser.add_argument("--arm", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        one_arm(options.arm[0], *map(Path, options.arm[1:]))
        return
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        for turn in range(options.turns):
            for arm in ("all", *options.only):
                words = [sys.executable, __file__, "--arm", arm, folder, f"{folder}/{arm}-{turn}"]
                env = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run(words, env=env, stdout=subprocess.PIPE, check=True)
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    share = {
        part: sum(RECIPE.seconds.get(stage, 0) for stage in stages) / sum(RECIPE.seconds.values())
        for part, stages in PARTS.items()
    }
    print(f"load {os.getloadavg()[0]:.1f}; share of the demo and CPU seconds with all pieces:")
    print({p: (round(share[p], 2), round(median(r[p] for r in found["all"]), 1)) for p in PARTS})
    print(f"| off | {' | '.join(PARTS)} | demo | lowest to highest |\n" + "|---" * 7 + "|")
    for arm in options.only:
        pairs = zip(found[arm], found["all"], strict=True)
        ratios = [{part: one[part] / every[part] for part in PARTS} for one, every in pairs]
        whole = [1 + sum(share[part] * (r[part] - 1) for part in PARTS) for r in ratios]
        cells = [f"{median(r[part] for r in ratios):.2f}" for part in PARTS]
        print(f"| {arm} | {' | '.join(cells)} | {median(whole):.2f} ", end="")
        print(f"| {min(whole):.2f} to {max(whole):.2f} |", flush=True)


if __name__ == "__main__":
    main()
