"""The effect of the pretraining coefficient: PPO-ptx at several values, with the paper's 8:1 ratio.

    .venv/bin/python benchmarks/ptx_coef.py runs/demo [--coefs 0 1 10 27.8 100] [--iterations 20]
        [--reduction episode | token]

Takes the models and prompts of a finished demo (`understudy demo`; `--quick` suffices for a test)
and trains from the RL init, on 8 rows of text for each episode. Prints a table and writes
ptx_coef_REDUCTION.json into --out; finished runs there are not trained again. The gold judge
compares the responses to held-out prompts with those of step 0, drawn with the same noise.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from understudy.evaluation.statistics import win_rate
from understudy.models.policies import load_policy
from understudy.models.text import read_text, text_loss
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.records import Prompt, read_records
from understudy.training.config import load_config
from understudy.training.run import read_lines
from understudy.world.world import World

EXPLODED = 20.0
"""KL per response, in nats, from which on a run counts as unstable."""
COLUMNS = {
    "coef": "`ptx_coef`",
    "gold_win_rate": "gold win rate against step 0",
    "score": "reward model's score",
    "kl": "KL",
    "ptx_loss": "loss on the text, first to last",
    "held_out_loss": "loss on other text (at the start)",
    "ppo_share": "PPO's share of the gradient",
    "clip_fraction": "clipped ratios",
    "stable": "stable",
}


def main() -> None:
    """Train with every coefficient and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--coefs", type=float, nargs="+", default=[0.0, 1.0, 10.0, 27.8, 100.0])
    parser.add_argument("--reduction", choices=["episode", "token"], default="episode")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("runs/ptx_coef"))
    options = parser.parse_args()
    rows = [measure(options, coef) for coef in options.coefs]
    (options.out / f"ptx_coef_{options.reduction}.json").write_text(
        json.dumps(rows, indent=1) + "\n"
    )
    print(f"| {' | '.join(COLUMNS.values())} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(shown(row))} |")


def config_of(options: argparse.Namespace, coef: float) -> PPOConfig:
    """The demo's own PPO-ptx, except for the mix and the length."""
    changes: dict[str, Any] = {
        "out": options.out / (f"coef-{coef:g}-{options.reduction}" if coef else "coef-0"),
        "ptx_coef": coef,
        "ptx_reduction": options.reduction if coef else "episode",
        "ptx_sequences_per_episode": 8.0,
        "ptx_length": 32,
        "batch_size": options.batch_size,
        "episodes": options.iterations * options.batch_size,
        "eval_every": options.iterations,
        "save_every": options.iterations,
        "model": str(options.demo / "rl_init/run/model"),
        "reward_model": options.demo / "reward/run/model",
        "prompts": options.demo / "prompts/ppo.jsonl",
        "eval_prompts": options.demo / "prompts/rank_valid.jsonl",
        "pretrain_data": options.demo / "text/pretraining.jsonl" if coef else None,
    }
    config = load_config(PPOConfig, options.demo / "ppo_ptx/run/config.toml", changes)
    resume = (config.out / "run.json").exists()
    return load_config(PPOConfig, None, vars_of(config) | {"resume": resume})


def vars_of(config: PPOConfig) -> dict[str, Any]:
    """The fields of a config by name."""
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def measure(options: argparse.Namespace, coef: float) -> dict[str, Any]:
    """One run and its figures."""
    config = config_of(options, coef)
    out = train_ppo(config)
    rows = [row for row in read_lines(out / "metrics.jsonl") if row["step"] > 0]
    evaluations = [r for r in read_lines(out / "metrics.jsonl") if "ppo/eval_score" in r]
    wins = gold_wins(config)
    held_out = read_text(options.demo / "text/held_out.jsonl")
    losses = {}
    for name, model in (("start", config.model), ("end", out / "model")):
        policy, tokenizer = load_policy(model)
        losses[name] = text_loss(policy, tokenizer, held_out, length=config.ptx_length)
    worst = max(row["ppo/kl"] for row in rows)
    skipped = sum(row["ppo/skipped_steps"] for row in rows)
    scores = [row["ppo/eval_score"] for row in evaluations]
    return {
        "coef": coef,
        "gold_win_rate": win_rate(list(wins.values()), prompts=list(wins)).to_json(),
        "score": [scores[0], scores[-1]],
        "kl": evaluations[-1]["ppo/eval_kl"],
        "ptx_loss": [rows[0].get("ppo/ptx_loss"), rows[-1].get("ppo/ptx_loss")],
        "held_out_loss": losses,
        "ppo_share": ppo_share(rows),
        "clip_fraction": max(row["ppo/clip_fraction"] for row in rows),
        "ratio_max": max(row["ppo/ratio_max"] for row in rows),
        "skipped_steps": skipped,
        "stable": skipped == 0 and worst < EXPLODED and scores[-1] > scores[0],
    }


def ppo_share(rows: list[dict[str, Any]]) -> float:
    """Norm of PPO's own gradient over that of the sum, mean over iterations; 1 without ptx."""
    pairs = [(row.get("ppo/surrogate_grad_norm"), row["ppo/policy_grad_norm"]) for row in rows]
    shares = [1.0 if own is None else own / whole for own, whole in pairs]
    return sum(shares) / len(shares)


def gold_wins(config: PPOConfig) -> dict[str, float]:
    """For each held-out prompt, whether the gold judge prefers the last response to the first."""
    judge = World(config.seed).judge
    assert config.eval_prompts is not None
    prompts = {p.id: p.prompt for p in read_records(config.eval_prompts, Prompt)}
    samples = read_lines(config.out / "samples.jsonl")
    first, last = ({} for _ in range(2))
    for row in samples:
        total = judge.score(prompts[row["prompt_id"]], row["response"]).total
        (first if row["step"] == 0 else last)[row["prompt_id"]] = total
    return {key: (last[key] > first[key]) + 0.5 * (last[key] == first[key]) for key in first}


def shown(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    wins, losses, text = row["gold_win_rate"], row["held_out_loss"], row["ptx_loss"]
    return [
        f"{row['coef']:g}",
        f"{wins['rate']:.1%} ({wins['low']:.1%} to {wins['high']:.1%})",
        f"{row['score'][0]:.2f} to {row['score'][1]:.2f}",
        f"{row['kl']:.2f}",
        "" if text[0] is None else f"{text[0]:.3f} to {text[1]:.3f}",
        f"{losses['end']:.3f} ({losses['start']:.3f})",
        f"{row['ppo_share']:.1%}",
        f"{row['clip_fraction']:.1%}",
        "yes" if row["stable"] else "no",
    ]


if __name__ == "__main__":
    main()
