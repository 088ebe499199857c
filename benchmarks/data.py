"""Memory of training data, by its size: packed pretraining text of up to 4 billion tokens.

    python benchmarks/data.py [--tokens 10e6 500e6 4e9]

Each row is a process of its own that opens the data as PPO does and reads 20 optimiser steps of the
paper's 512 rows (C.4), 10 at the beginning of an epoch and 10 across its end. "grown" is how far
its peak of resident memory rises above what it had with the model loaded. The token files are
sparse: they take no room on the disk, and are read like others.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from understudy.models.policies import load_policy
from understudy.models.text import identity, open_rows
from understudy.ppo.ptx import text_of_step
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


def main() -> None:
    """Measure and print each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=float, nargs="+", default=[10e6, 500e6, 4e9])
    context = multiprocessing.get_context("spawn")
    for tokens in map(int, parser.parse_args().tokens):
        here, there = context.Pipe()
        process = context.Process(target=read_text, args=(tokens, there))
        process.start()
        before, after, opening, step = here.recv()
        process.join()
        print(
            f"{tokens:,} tokens: grown {after - before:,.0f} MB to {after:,.0f} MB; "
            f"{opening:.1f} s to open and shuffle, {step:.1f} ms to read a step"
        )


if __name__ == "__main__":
    main()
