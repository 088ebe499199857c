"""Print the demo's results over seeds as a table, from the results.json of finished demos.

for seed in 0 1 2; do .venv/bin/understudy demo --seed $seed; done
.venv/bin/python benchmarks/seeds.py runs/demo runs/demo-seed1 runs/demo-seed2
"""

import json
import sys
from pathlib import Path

MODELS = ("base", "prompted", "sft_null", "ppo", "ppo_ptx", "best_of_n")
TABLES = {
    "held-out labelers": ("win_rates_vs_sft", False),
    "gold judge": ("win_rates_vs_sft_gold", False),
    "held-out labelers, greedy": ("win_rates_vs_sft", True),
    "gold judge, greedy": ("win_rates_vs_sft_gold", True),
}


def percent(interval: dict[str, float]) -> str:
    """A rate with its interval, in percent."""
    return f"{interval['rate']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    if not folders:
        raise SystemExit("give the folders of finished demos, such as runs/demo")
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    seeds = " | ".join(f"seed {result['seed']}" for result in results)
    print(f"| against SFT | judged by | {seeds} |\n|---|---|{'---|' * len(results)}")
    for model in MODELS:
        for judge, (table, greedy) in TABLES.items():
            found = [(r["greedy"] if greedy else r)[table].get(model) for r in results]
            if all(found):
                print(f"| {model} | {judge} | {' | '.join(map(percent, found))} |")
    print(f"\n| reward model | {seeds} |\n|---|{'---|' * len(results)}")
    for name in results[0]["reward_model"]:
        values = [result["reward_model"][name] for result in results]
        if all(isinstance(v, dict) and "rate" in v for v in values):
            print(f"| {name} | {' | '.join(map(percent, values))} |")
        elif all(isinstance(v, float) for v in values):
            print(f"| {name} | {' | '.join(f'{v:.1%}' for v in values)} |")
    minutes = " | ".join(f"{result['wall_minutes']:.1f}" for result in results)
    print(f"| minutes | {minutes} |")


if __name__ == "__main__":
    main()
