"""Memory of training data, by its size: packed text of up to 4 billion tokens, and records.

    python benchmarks/data.py [--tokens 10e6 500e6 4e9] [--records 4e3 16e3]

Each line runs in its own process. "grown" is how far its peak of resident memory rises above what
it had with the model loaded. Text is opened as PPO opens it, and read for 20 optimiser steps of the
paper's 512 rows (C.4), 10 at the beginning of an epoch and 10 across its end. The token files are
sparse: they take no room on disk, but read like others. Rankings (of 4 responses), demonstrations
and prompts are read as the trainers read them; then all encoded rows are read once more.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path

from understudy.models.policies import load_policy
from understudy.models.text import identity, open_rows
from understudy.ppo.ptx import text_of_step
from understudy.records import Demonstration, Ranking
from understudy.records.io import shelve_records
from understudy.rl.prompts import read_prompts
from understudy.sft.data import encode_demonstrations
from understudy.training.rankings import encode_rankings
from understudy.world.bases import base_model_path

ROWS, LENGTH, STEPS = 512, 256, 10


def sparse_text(folder: Path, tokens: int) -> None:
    """A folder of packed text whose tokens are all 0."""
    model = str(base_model_path("1m"))
    _, tokenizer = load_policy(model)
    (folder / "tokens.bin").touch()
    os.truncate(folder / "tokens.bin", 2 * tokens)
    facts = {"format": 1, "dtype": "<u2", "tokens": tokens, "documents": 0, "inputs": []}
    made = {"tokenizer": {"model": model, **identity(tokenizer)}, "sha256": ""}
    (folder / "tokens.json").write_text(json.dumps(facts | made))


def peak() -> float:
    """Peak of this process's resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def read_text(tokens: int, out: Connection) -> None:
    """Send (peak before, peak after, seconds to open, milliseconds of a step)."""
    with tempfile.TemporaryDirectory() as name:
        sparse_text(Path(name), tokens)
        model, tokenizer = load_policy(base_model_path("1m"))
        before, started = peak(), time.monotonic()
        text = open_rows(Path(name), tokenizer, model, LENGTH)
        first = text_of_step(text, 0, ROWS, seed=0)
        opened, reading = time.monotonic() - started, 0.0
        end = max(len(text) // ROWS - STEPS // 2, STEPS)
        for step in (*range(STEPS), *range(end, end + STEPS)):
            step_text = text_of_step(text, step, ROWS, seed=0)
            started = time.monotonic()
            assert text.take(step_text.numbers).shape == (ROWS, LENGTH)
            reading += time.monotonic() - started
        assert len(set(first.numbers)) == min(ROWS, len(text))
    out.send((before, peak(), opened, 1000 * reading / (2 * STEPS)))


def row_of(kind: str, number: int) -> dict[str, object]:
    """A row of a file of records, of about 60 words for each text."""
    words = [f"word{(number * 7 + i) % 991}" for i in range(60)]
    text = " ".join(words)
    row: dict[str, object] = {"prompt": f"{number} {text}"}
    if kind == "demonstrations":
        row["response"] = text
    if kind == "rankings":
        row |= {"responses": [f"{text} {i}" for i in range(4)], "tiers": [[0], [1, 2], [3]]}
    return row


def read_records(kind: str, count: int, out: Connection) -> None:
    """Send (peak before, peak after, size of the file in MB, seconds)."""
    _, tokenizer = load_policy(base_model_path("1m"))
    limits = {"max_prompt_tokens": 1024, "max_response_tokens": 1024, "context": None}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"{kind}.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(row_of(kind, i)) + "\n" for i in range(count))
        before, started = peak(), time.monotonic()
        rows: Sequence[object]
        if kind == "prompts":
            rows = read_prompts(path, tokenizer=tokenizer, training=True, **limits).ids
        else:
            is_ranking = kind == "rankings"
            encode = encode_rankings if is_ranking else encode_demonstrations
            records = shelve_records(path, Ranking if is_ranking else Demonstration)
            rows = encode(tokenizer, records, where=kind, **limits).rows
        assert sum(1 for _ in rows) == count
        out.send((before, peak(), path.stat().st_size / 1e6, time.monotonic() - started))


def measured(
    context: SpawnContext, function: Callable[..., None], *arguments: object
) -> list[float]:
    """What `function` sends when run in its own process."""
    here, there = context.Pipe()
    process = context.Process(target=function, args=(*arguments, there))
    process.start()
    found: list[float] = here.recv()
    process.join()
    return found


def main() -> None:
    """Measure and print each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=float, nargs="*", default=[10e6, 500e6, 4e9])
    parser.add_argument("--records", type=float, nargs="*", default=[4e3, 16e3])
    sizes = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for tokens in map(int, sizes.tokens):
        before, after, opening, step = measured(context, read_text, tokens)
        print(
            f"{tokens:,} tokens: grown {after - before:,.0f} MB to {after:,.0f} MB; "
            f"{opening:.1f} s to open and shuffle, {step:.1f} ms to read a step"
        )
    for kind in ("demonstrations", "rankings", "prompts"):
        for count in map(int, sizes.records):
            before, after, size, seconds = measured(context, read_records, kind, count)
            print(
                f"{count:,} {kind}, a file of {size:,.0f} MB: grown {after - before:,.0f} MB to "
                f"{after:,.0f} MB; {seconds:.0f} s"
            )


if __name__ == "__main__":
    main()
