"""Data in the formats that `understudy real` reads, and the real models where they are there."""

import bz2
import gzip
import json
import os
import random
from pathlib import Path

import pytest
from tests.fixtures_data import some_text

ROOT = Path(__file__).parents[1]
STORIES = ROOT.parent / "shared" / "realdata" / "stories260K"
SMOLLM2 = Path(os.environ.get("SMOLLM2") or ROOT / "runs" / "real" / "model" / "model")
"""The folder that `make real` makes, or the one that the variable SMOLLM2 names."""

needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="stories260K is not there")
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.is_dir(), reason="SmolLM2 is not there")

FILES = {
    "rankings_file": "pairs.jsonl.gz",
    "text_file": "sentences.jsonl",
    "benchmark_file": "items.txt.bz2",
}
"""Names of the copies, as a recipe has them."""


def write_copies(folder: Path, conversations: int = 30) -> Path:
    """Transcripts of pairs (two per opening, one row broken), sentences, items of six lines."""
    rng = random.Random(0)
    rows = []
    for number in range(conversations):
        opening = f"\n\nHuman: {number} {some_text(rng, 2, 5)}\n\nAssistant:"
        longer = f"{opening} {some_text(rng, 1, 3)}\n\nHuman: more\n\nAssistant:"
        for prompt in (opening, longer):
            rows.append({"chosen": f"{prompt} soup", "rejected": f"{prompt} the dog"})
    rows[3]["rejected"] = "\n\nHuman: something else\n\nAssistant: no"
    with gzip.open(folder / FILES["rankings_file"], "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    sentences = [
        {
            "prompt": {"text": f"Sentence {i} begins", "toxicity": 0.1},
            "continuation": {"text": " and ends.", "toxicity": 0.9 if i % 5 == 0 else None},
        }
        for i in range(60)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in sentences)
    (folder / FILES["text_file"]).write_text(lines)
    items = [
        [f"Cooking: item {i}. she", str(i % 4), *(f"does {n}." for n in "abcd")] for i in range(12)
    ]
    (folder / FILES["benchmark_file"]).write_bytes(
        bz2.compress("".join(f"{line}\n" for item in items for line in item).encode())
    )
    return folder


DATA = {
    **{"rankings": "ORG/PAIRS", "text": "ORG/TEXT", "benchmark": "ORG/ITEMS"},
    **FILES,
    "max_prompt_characters": 100,
    "max_answer_characters": 50,
    "num_demonstrations": 8,
    "num_valid_demonstrations": 4,
    "num_rankings": 20,
    "num_second_rankings": 14,
    "balance_lengths": False,  # the preferred one is always the longer one here
    "num_held_out": 16,
    "num_test_prompts": 4,
    "num_eval_prompts": 3,
    "num_benchmark_items": 5,
    "num_texts": 30,
    "num_held_out_texts": 6,
    "max_toxicity": 0.2,
}
"""A [data] section for those copies."""
TRAINERS = {
    "sft": dict(epochs=1, lr=1e-3, batch_size=4, pretrain_fraction=0.1, pretrain_length=16)
    | dict(dropout=0.0, lora_rank=2),
    "reward": dict(lr=1e-3, batch_size=4, lora_rank=2),
    "ppo": dict(episodes=16, batch_size=8, num_minibatches=2, lr=1e-3, critic_lr=1e-3)
    | dict(ptx_coef=0.5, ptx_sequences_per_episode=0.5, ptx_length=16, max_response_tokens=6)
    | dict(warmup_iterations=0, ema=0.0, lora_rank=2, eval_every=1, save_every=1),
    "rloo": dict(lr=1e-3),
    "grpo": dict(lr=1e-3, responses_per_prompt=4),
    "raft": dict(lr=1e-3, responses_per_prompt=4, inner_epochs=1),
    "dpo": dict(lr=1e-3, batch_size=8, lora_rank=2, warmup_steps=0),
    "kto": dict(lr=1e-3, batch_size=8, lora_rank=2, warmup_steps=0),
    "rates": dict(rloo=[5e-4, 1e-3]),
}


def write_recipe(path: Path) -> Path:
    """A recipe of a few steps."""
    sections = {
        "model": {"package": "none", "version": "0", "sha256": "0" * 64},
        "data": DATA,
        "evaluate": {"temperature": 0.7, "max_response_tokens": 6},
        **TRAINERS,
    }
    path.write_text(
        "".join(
            f"[{name}]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for name, table in sections.items()
        )
    )
    return path
