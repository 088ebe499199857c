"""DPO beside PPO on a finished demo: the same rankings, prompts and judges.

    make demo && .venv/bin/python benchmarks/dpo.py runs/demo [--lr 1e-4 3e-4] [--beta 0.1 0.3]

Trains DPO from the demo's SFT model with each pair of lr and beta, draws one response per new test
prompt as the demo does, and prints a row per model: win rate against SFT by the gold judge and by
held-out labelers with 95% intervals clustered by prompt and user, KL from SFT in nats per response,
seconds of training. PPO's and PPO-ptx's rows come from the demo's own responses; their seconds do
not include the reward model's.
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

import torch

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.engines.sampling import draw_responses
from understudy.evaluation.compare import gold_comparer, head_to_head, win_rate_table
from understudy.models.chat import encode_responses
from understudy.models.policies import Policy, load_policy
from understudy.records import Prompt, Response, read_records
from understudy.training.rankings import Element
from understudy.training.responses import response_logprobs
from understudy.training.run import read_lines
from understudy.world.world import World


def main() -> None:
    """Train, sample, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-4, 3e-4])
    parser.add_argument("--beta", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--out", type=Path, help="where runs go; DEMO/dpo by default")
    options = parser.parse_args()
    demo, out = options.demo, options.out or options.demo / "dpo"
    seed = int(json.loads((demo / "demo.json").read_text())["seed"])
    prompts = read_records(demo / "prompts" / "test.jsonl", Prompt)
    start = demo / "sft" / "run" / "model"
    responses, folders, seconds = {}, {}, {}
    for name in ("ppo", "ppo_ptx"):
        responses[name] = of(demo, name, prompts)
        folders[name] = demo / name / "run" / "model"
        seconds[name] = json.loads((demo / name / "stage.json").read_text())["seconds"]
    for lr, beta in product(options.lr, options.beta):
        name = f"dpo lr {lr:g} beta {beta:g}"
        run = train_dpo(
            DPOConfig(
                model=str(start),
                data=demo / "rankings" / "rankings.jsonl",
                valid_data=demo / "rankings" / "valid.jsonl",
                out=out / f"{lr:g}-{beta:g}",
                lr=lr,
                beta=beta,
                seed=seed,
                resume=True,
            )
        )
        seconds[name], folders[name] = spent(run), run / "model"
        policy, tokenizer = load_policy(run / "model")
        responses[name] = draw_responses(
            policy, tokenizer, prompts, num_samples=1, seed=seed, max_new_tokens=48,
            model_name=name,
        )  # fmt: skip
    world = World(seed)
    judges = {"held_out": world.labelers("held_out"), "gold": [gold_comparer(world.judge)]}
    comparisons = head_to_head(prompts, responses, of(demo, "sft", prompts), judges, seed=seed)
    tables = {group: win_rate_table(rows, prompts) for group, rows in comparisons.items()}
    print("| | gold | held-out labelers | KL, nats | words | seconds |\n|---|---|---|---|---|---|")
    for name, rows in responses.items():
        words = fmean(len(row.response.split()) for row in rows)
        kl = divergence(folders[name], start, prompts, rows)
        cells = [shown(tables[group][name]) for group in ("gold", "held_out")]
        print(f"| {name} | {' | '.join(cells)} | {kl:.1f} | {words:.1f} | {seconds[name]:.0f} |")


def spent(run: Path) -> float:
    """Seconds of a run's steps, however often it was resumed."""
    pairs = (row["dpo/pairs"] for row in read_lines(run / "metrics.jsonl") if "dpo/pairs" in row)
    rates = (row["dpo/pairs_per_second"] for row in read_lines(run / "timings.jsonl"))
    return sum(count / rate for count, rate in zip(pairs, rates, strict=True))


def of(demo: Path, name: str, prompts: list[Prompt]) -> list[Response]:
    """The demo's sampled responses of a model to these prompts."""
    ids = {prompt.id for prompt in prompts}
    rows = read_records(demo / f"sampled_{name}" / "responses.jsonl", Response)
    return [replace(row, model=name) for row in rows if row.prompt_id in ids]


def shown(rate: dict[str, float]) -> str:
    """A win rate with its interval, in percent."""
    return f"{rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"


def divergence(folder: Path, start: Path, prompts: list[Prompt], rows: list[Response]) -> float:
    """Mean log(policy / SFT) of the policy's own responses: an estimate of the KL."""
    (policy, tokenizer), (base, _) = load_policy(folder), load_policy(start)
    text = {prompt.id: prompt.prompt for prompt in prompts}
    encoded = encode_responses(
        tokenizer, [text[row.prompt_id] for row in rows], [[row.response] for row in rows], str
    )
    elements = [
        Element(
            prompt_ids=prompt, response_ids=ids, pairs=[], margins=[], ties=[], labeler_id="",
            labeler_role="training", prompt_key="",
        )
        for prompt, ids in encoded
    ]  # fmt: skip
    parts = [elements[i : i + 50] for i in range(0, len(elements), 50)]
    total = sum(float((logprobs(policy, part) - logprobs(base, part)).sum()) for part in parts)
    return total / len(elements)


@torch.no_grad()
def logprobs(model: Policy, part: list[Element]) -> torch.Tensor:
    """`response_logprobs` without gradients."""
    return response_logprobs(model.eval(), part, 0)


if __name__ == "__main__":
    main()
