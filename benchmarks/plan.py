"""Peak memory of SFT, reward model and PPO on a CPU beside what `understudy plan` says.

    python benchmarks/plan.py --model FOLDER [--only sft reward ppo]

Each trainer runs two steps in its own process, with rows of the full length and at least two passes
per step; its peak is the largest resident memory of that process. Writes benchmarks/plan.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from understudy.models.chat import render_prompts
from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel
from understudy.records import Demonstration, Prompt, Ranking, write_records

PROMPT, RESPONSE, RESPONSES = 64, 64, 3
SETTINGS = {
    "sft": ["--epochs", "1", "--batch-size", "4", "--dropout", "0"],
    "reward": ["--epochs", "1", "--batch-size", "4"],
    "ppo": [
        *("--episodes", "8", "--batch-size", "4", "--num-minibatches", "2"),
        *("--ptx-sequences-per-episode", "0.5", "--ptx-length", "128"),
    ],
}
COMMON = [
    *("--max-prompt-tokens", str(PROMPT), "--max-response-tokens", str(RESPONSE)),
    *("--micro-batch-tokens", "256", "--save-every", "1000"),
]
"""256 tokens: two rows of SFT and PPO, one ranking of the reward model."""


def main() -> None:
    """Plan and run each stage, and print both peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    out = Path(__file__).with_name("plan.json")
    results = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(options.model, Path(folder), "ppo" in options.only)
        for stage in options.only:
            settings = [*SETTINGS[stage], *COMMON]
            planned = plan(stage, options.model, settings, Path(folder))
            words = [stage, "--model", str(options.model), *inputs[stage], *settings]
            measured = peak_of([*words, "--out", f"{folder}/{stage}"])
            results[stage] = {
                "planned_gb": planned["peak"]["bytes"] / 1e9,
                "measured_gb": measured / 1e9,
                "phase": planned["peak"]["phase"],
            }
            ratio = planned["peak"]["bytes"] / measured
            print(f"{stage}: planned {planned['peak']['bytes'] / 1e9:.2f} GB", end=" ")
            print(f"({planned['peak']['phase']}), measured {measured / 1e9:.2f}: {ratio:.2f}")
            out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def plan(stage: str, model: Path, settings: list[str], folder: Path) -> dict:
    """The plan's numbers."""
    path = folder / "plan.json"
    words = ["plan", "--model", str(model), "--stage", stage, "--device", "cpu", "--memory", "1000"]
    words += ["--responses", str(RESPONSES), "--json", str(path), "--", *settings]
    subprocess.run([sys.executable, "-m", "understudy.cli", *words], check=True, stdout=-3)
    return json.loads(path.read_text())


def peak_of(words: list[str]) -> int:
    """Largest resident memory in bytes of a command's process."""
    process = subprocess.Popen([sys.executable, "-m", "understudy.cli", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"understudy {words[0]} failed")
    return usage.ru_maxrss * 1024


def write_inputs(model: Path, folder: Path, with_reward_model: bool) -> dict[str, list[str]]:
    """Write records of the full lengths, text, and a reward model; returns the options that name
    them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = "cat"
    while len(render_prompts(tokenizer, [text + " cat"])[0]) <= PROMPT:
        text += " cat"
    answers = [f"{animal} " * RESPONSE for animal in ("dog", "cow", "pig")]
    rows = [{"prompt": text, "response": answers[0]}] * 8
    sft = write_records(folder / "d.jsonl", [Demonstration.from_json(row) for row in rows])
    tiers = [[i] for i in range(RESPONSES)]
    rankings = [
        Ranking.from_json({"id": f"k{i}", "prompt": text, "responses": answers, "tiers": tiers})
        for i in range(8)
    ]
    prompts = [Prompt(id=f"p{i}", prompt=text, user_id="u") for i in range(8)]
    (folder / "text.txt").write_text("cat " * 5000)
    if with_reward_model:
        policy, _ = load_policy(model)
        ScalarModel.from_policy(policy).save(folder / "rm", tokenizer)
    ppo = ["--reward-model", f"{folder}/rm", "--pretrain-data", f"{folder}/text.txt"]
    return {
        "sft": ["--data", str(sft)],
        "reward": ["--data", str(write_records(folder / "r.jsonl", rankings))],
        "ppo": [*ppo, "--prompts", str(write_records(folder / "p.jsonl", prompts))],
    }


if __name__ == "__main__":
    main()
