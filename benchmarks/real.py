"""SmolLM2 beside plain transformers and TRL: sampling, a step, the sft command, pairs, PPO.

    python benchmarks/real.py --model FOLDER [--quick] [--only sample step sft reward ppo]

FOLDER is a Hugging Face folder of a causal language model with a chat template, such as
runs/real/model/model. Writes benchmarks/real.json as speed.py does: figures, ratios (ours over
theirs, in turns), the machine. "theirs" is a plain loop with transformers alone: padded batches,
all logits, AdamW. Rankings and PPO are compared with TRL's trainers too, if `make bench-peers` has
installed them (trl_real.py). OMP_NUM_THREADS applies to every side.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from speed import Figures, machine, matmul_rate, peer, record, take_turns
from understudy.engines.sampling import draw_responses
from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.dropout import set_dropout
from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel
from understudy.records import Demonstration, Prompt, Ranking, write_records
from understudy.reward.train import backward_batch as reward_backward
from understudy.sft.data import encode_demonstrations
from understudy.sft.loss import backward_batch as sft_backward
from understudy.training.optim import make_optimizer
from understudy.training.rankings import encode_rankings
from understudy.training.run import read_lines

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    "the a small old red house river cat dog letter window teacher garden runs sings explains "
    "keeps near under without because slowly often never bread music winter question answer city"
).split()
LIMITS: dict[str, Any] = {"max_prompt_tokens": 512, "max_response_tokens": 256, "context": None}


def main() -> None:
    """Run the chosen parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a causal language model")
    parser.add_argument("--quick", action="store_true", help="one turn each, for a test")
    parser.add_argument("--only", nargs="*", default=list(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "real.json")
    options = parser.parse_args()
    keep_freed_memory()
    load_before = os.getloadavg()
    figures: Figures = {"matmul_gflops": matmul_rate()}
    ratios: Figures = {}
    for name in options.only:
        PARTS[name](options.model, figures, ratios, 1 if options.quick else 3)
    results = {
        "model": options.model,
        "figures": figures,
        "ratios": ratios,
        "machine": machine() | {"load_before": load_before, "load_after": os.getloadavg()},
        "quick": options.quick,
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def text(rng: random.Random, low: int, high: int) -> str:
    """A text of `low` to `high` random words."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def demonstrations(count: int) -> list[Demonstration]:
    """Prompts of 4 to 40 words with responses of 4 to 60: ragged, like people's."""
    rng = random.Random(0)
    rows = ({"prompt": text(rng, 4, 40), "response": text(rng, 4, 60)} for _ in range(count))
    return [Demonstration.from_json(row) for row in rows]


def rankings(count: int, size: int) -> list[Ranking]:
    """Rankings of `size` responses without ties."""
    rng = random.Random(1)
    return [
        Ranking.from_json(
            {
                "prompt": text(rng, 10, 40),
                "responses": [text(rng, 10, 50) for _ in range(size)],
                "tiers": [[i] for i in range(size)],
            }
        )
        for _ in range(count)
    ]


def sample(folder: str, figures: Figures, ratios: Figures, repeats: int) -> None:
    """Tokens per second of 32 responses of at most 48 tokens."""
    model, tokenizer = load_policy(folder)
    rows = enumerate(demonstrations(32))
    prompts = [Prompt(id=f"p{i}", prompt=row.prompt, user_id="u") for i, row in rows]
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    length = max(map(len, ids))
    ids_BT = torch.tensor([[pad_id] * (length - len(row)) + row for row in ids])
    mask_BT = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ids])

    def ours() -> int:
        responses = draw_responses(
            model, tokenizer, prompts, num_samples=1, temperature=1.0, seed=0, max_new_tokens=48,
            model_name="m",
        )  # fmt: skip
        return sum(
            len(tokenizer(a.response, add_special_tokens=False)["input_ids"]) + a.finished
            for a in responses
        )

    @torch.no_grad()
    def theirs() -> int:
        torch.manual_seed(0)
        out_BT = plain.generate(
            input_ids=ids_BT, attention_mask=mask_BT, max_new_tokens=48, do_sample=True, top_k=0,
            temperature=1.0, pad_token_id=pad_id,
        )  # fmt: skip
        ended = (out_BT[:, length:] == tokenizer.eos_token_id).cumsum(1)
        return int((ended == 0).sum() + (ended[:, -1] > 0).sum())

    sides = {"ours": ours, "generate": theirs}
    for clock, rates in take_turns(sides, repeats).items():
        record(figures, ratios, f"sample{clock}", "tokens_per_s", rates, "generate")


def step(folder: str, figures: Figures, ratios: Figures, repeats: int) -> None:
    """Real tokens per second of a step on 16 ragged rows, optimiser included."""
    model, tokenizer = load_policy(folder)
    rows = encode_demonstrations(tokenizer, demonstrations(16), where="", **LIMITS).rows
    num_tokens = sum(len(row.input_ids) for row in rows)
    pad_id = tokenizer.pad_token_id or 0
    plain = AutoModelForCausalLM.from_pretrained(folder).train()
    set_dropout(model, 0.0)
    mine, other = (make_optimizer(m, 1e-6, weight_decay=0.0) for m in (model.train(), plain))

    def ours() -> int:
        sft_backward(model, rows, pad_id, 4096, 1.0)
        mine.step()
        mine.zero_grad()
        return num_tokens

    def theirs() -> int:
        ids_BT, mask_BT = padded([row.input_ids for row in rows])
        counted_BT = padded([row.loss_mask for row in rows])[0].bool()
        labels_BT = torch.where(counted_BT, ids_BT, -100)
        plain(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT).loss.backward()
        other.step()
        other.zero_grad()
        return num_tokens

    for clock, rates in take_turns({"ours": ours, "padded": theirs}, repeats).items():
        record(figures, ratios, f"step{clock}", "tokens_per_s", rates, "padded")


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) of rows padded with 0 on the right."""
    length = max(map(len, rows))
    ids = [[*row, *[0] * (length - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


PLAIN_SFT = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, data, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
rows = [json.loads(line) for line in open(data)]
for start in range(0, len(rows), 8):
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": r["prompt"]},
             {"role": "assistant", "content": r["response"]}], tokenize=False)
             for r in rows[start:start + 8]]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
model.save_pretrained(out)
tokenizer.save_pretrained(out)
"""


def sft(folder: str, figures: Figures, ratios: Figures, repeats: int) -> None:
    """Runs per hour of the whole command on 16 demonstrations, start-up and saving included."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = write_records(work / "d.jsonl", demonstrations(16))
        common = [sys.executable, "-m", "understudy.cli", "sft", "--model", folder]
        common += ["--data", str(data), "--out", str(work / "ours"), "--overwrite"]
        common += ["--epochs", "1", "--batch-size", "8", "--dropout", "0"]

        def ours() -> int:
            subprocess.run(common, check=True, capture_output=True)
            return 3600

        def theirs() -> int:
            out = str(work / "theirs")
            command = [sys.executable, "-c", PLAIN_SFT, folder, str(data), out]
            subprocess.run(command, check=True, capture_output=True)
            return 3600

        rates = take_turns({"ours": ours, "plain": theirs}, repeats)[""]
    record(figures, ratios, "sft_command", "runs_per_hour", rates, "plain")


def reward(folder: str, figures: Figures, ratios: Figures, repeats: int) -> None:
    """Pairs per second of a step on 4 rankings of K = 5: 40 pairs, optimiser included."""
    policy, tokenizer = load_policy(folder)
    model = ScalarModel.from_policy(policy, seed=0)
    rows = encode_rankings(tokenizer, rankings(4, 5), where="", **LIMITS).rows
    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    plain.config.pad_token_id = tokenizer.vocab_size + 1  # no real id: the mask marks the padding
    pairs = [
        ([*row.prompt_ids, *row.response_ids[good]], [*row.prompt_ids, *row.response_ids[bad]])
        for row in rows
        for good, bad in row.pairs
    ]

    mine, other = (make_optimizer(m, 1e-6, weight_decay=0.0) for m in (model, plain))

    def ours() -> int:
        reward_backward(model, rows, tokenizer.pad_token_id or 0, 4096)
        mine.step()
        mine.zero_grad()
        return len(pairs)

    def theirs() -> int:
        for start in range(0, len(pairs), 8):
            some = pairs[start : start + 8]
            ids_BT, mask_BT = padded([side for pair in some for side in pair])
            hidden_BTD = plain.base_model(
                input_ids=ids_BT, attention_mask=mask_BT
            ).last_hidden_state
            last_B = mask_BT.sum(1) - 1
            scores_B = plain.score(hidden_BTD[torch.arange(len(last_B)), last_B])[:, 0]
            loss = -logsigmoid(scores_B[::2] - scores_B[1::2]).sum() / len(pairs)
            loss.backward()
        other.step()
        other.zero_grad()
        return len(pairs)

    for clock, rates in take_turns({"ours": ours, "pairwise": theirs}, repeats).items():
        record(figures, ratios, f"reward_k5{clock}", "pairs_per_s", rates, "pairwise")
    job = {"model": folder, "pairs": pairs, "batch": len(pairs)}
    sides = {"ours": timed(ours), "trl": lambda: trl("trl", "reward", job)}
    record(figures, ratios, "reward_k5_trl", "pairs_per_s", in_turns(sides, repeats), "trl")


def timed(side: Callable[[], int]) -> Callable[[], float]:
    """A function that warms a side up with one call and returns the median rate of three."""

    def rate() -> float:
        side()
        rates = []
        for _ in range(3):
            started = time.perf_counter()
            rates.append(side() / (time.perf_counter() - started))
        return statistics.median(rates)

    return rate


def in_turns(sides: dict[str, Callable[[], float | None]], repeats: int) -> dict[str, list[float]]:
    """The rates that each side reports; a side that is not installed has none."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(min(repeats, 2)):
        for name, side in sides.items():
            rate = side()
            if rate is not None:
                rates[name].append(rate)
    return rates


def trl(environment: str, kind: str, job: dict[str, Any]) -> float | None:
    """The rate of TRL's trainer on a job."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "job.json"
        path.write_text(json.dumps(job))
        found = peer(environment, "trl_real.py", kind, str(path), scripts=ROOT / "benchmarks")
    return None if found is None else float(found["per_s"])


def ppo(folder: str, figures: Figures, ratios: Figures, repeats: int) -> None:
    """Peak memory and seconds of PPO-ptx; PPO beside TRL's, 32 episodes of at most 48 tokens.

    All weights are trained, so policy, reference, reward model and critic are separate copies.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        policy, tokenizer = load_policy(folder)
        ScalarModel.from_policy(policy, seed=0).save(work / "reward", tokenizer)
        asked = demonstrations(32)
        prompts = [
            Prompt(id=f"p{i}", prompt=row.prompt, user_id="u") for i, row in enumerate(asked)
        ]
        write_records(work / "prompts.jsonl", prompts)
        lines = [text(random.Random(i), 60, 90) for i in range(64)]
        (work / "text.txt").write_text("\n\n".join(lines))
        rows = encode_demonstrations(tokenizer, asked, where="", **LIMITS).rows
        job: dict[str, Any] = {
            "model": folder,
            "prompts": [row.input_ids[: row.loss_mask.index(1)] for row in rows],
            "response_tokens": 48,
            "batch": 32,
        }
        del policy
        command = [sys.executable, "-m", "understudy.cli", "ppo", "--model", folder]
        command += ["--reward-model", str(work / "reward"), "--prompts", f"{work}/prompts.jsonl"]
        command += ["--out", f"{work}/run", "--overwrite"]
        command += ["--episodes", "96", "--batch-size", "32"]
        command += ["--num-minibatches", "4", "--max-response-tokens", "48"]
        command += ["--micro-batch-tokens", "1024", "--ema", "0", "--save-every", "1000"]
        mixed = ["--pretrain-data", f"{work}/text.txt", "--ptx-coef", "0.5"]
        mixed += ["--ptx-sequences-per-episode", "0.25", "--ptx-length", "64"]

        def iterations(more: Sequence[str]) -> list[dict[str, float]]:
            subprocess.run([*command, *more], check=True, capture_output=True)
            return read_lines(work / "run" / "timings.jsonl")[1:]

        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        timings = iterations(mixed)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if peak > before:  # otherwise an earlier, larger child hides this one's peak
            figures["ppo_ptx_peak_gib"] = peak / 2**20
        for part in ("rollout", "score", "update"):
            figures[f"ppo_ptx_{part}_seconds"] = statistics.median(
                row[f"ppo/seconds_{part}"] for row in timings
            )

        def ours() -> float:
            timings = iterations(["--ptx-coef", "0"])
            return statistics.median(row["ppo/episodes_per_second"] for row in timings)

        sides = {"ours": ours, "trl": lambda: trl("trl-ppo", "ppo", job)}
        record(figures, ratios, "ppo_trl", "episodes_per_s", in_turns(sides, repeats), "trl")


PARTS = {"ppo": ppo, "sample": sample, "step": step, "sft": sft, "reward": reward}
"""PPO comes first, so that its peak is the largest of any child."""


if __name__ == "__main__":
    main()
