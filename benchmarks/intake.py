"""Time and memory of intake, from 10 thousand to 1 million prompts.

    python benchmarks/intake.py [--sizes 10000 100000 1000000] [--near 0.8]

Prompts have the paper's lengths (Table 9: log-normal, median 62 tokens, mean about 166), six
prompts per user with a long tail, 10% repeated or templated texts and 3% personal data. Each size
runs in its own process, for its own peak memory. The time includes reading the JSON Lines file and
writing the result.
"""

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path

from understudy.prompts import BuildConfig, build_files

_WORDS = [
    a + b
    for a in "ta re mo li su ne ka do pi va che str bro gra und".split()
    for b in "la n r st ing ed er ly a o tion ment s ve".split()
]
_TASKS = (
    *("Write a story about", "Tell me a joke about", "Draft an e-mail on", "List 5 ideas for"),
    *("What is", "How do I make", "Rewrite this text:", "Summarize this article:", "Hello, I am"),
    *("Classify the sentiment:", "Context: 12 of 340 cases, 1.5 percent.", "Extract all names:"),
)
_PII = ("mail me at {n}@example.org", "my card is 4111 1111 1111 1111", "call +49 30 {n}1234567")


def write_prompts(path: Path, number: int, seed: int = 0) -> None:
    """A JSON Lines file of made-up prompts."""
    rng = random.Random(seed)
    templates = [_text(rng, 400) for _ in range(50)]
    earlier: list[str] = []
    with path.open("w", encoding="utf-8") as stream:
        for index in range(number):
            draw = rng.random()
            if draw < 0.05 and earlier:
                text = rng.choice(earlier)
            elif draw < 0.10:
                text = f"{rng.choice(templates)} {_text(rng, 40)}"
            else:
                text = f"{rng.choice(_TASKS)} {_text(rng, int(rng.lognormvariate(5.5, 1.4)))}"
            if draw > 0.97:
                text += " " + rng.choice(_PII).format(n=rng.randrange(100))
            if len(earlier) < 1000:
                earlier.append(text)
            row = {
                "id": f"prompt-{index:08d}",
                "prompt": text,
                "user_id": f"user-{int(number / 6 * rng.random() ** 2)}",
                "created_at": f"2026-{index % 12 + 1:02d}-{index % 28 + 1:02d}T00:00:00Z",
            }
            stream.write(json.dumps(row) + "\n")


def _text(rng: random.Random, length: int) -> str:
    return " ".join(rng.choices(_WORDS, k=max(3, min(length, 8000) // 5)))


def measure(folder: str, number: int, near: float | None, queue: "multiprocessing.Queue") -> None:
    """Build one set and put (seconds, CPU seconds, peak MiB, kept) into `queue`."""
    start, start_cpu = time.perf_counter(), time.process_time()
    files = dict(data=(Path(folder) / "in.jsonl",), out=Path(folder) / "out.jsonl")
    report = build_files(BuildConfig(near_duplicates=near, **files))
    seconds = time.perf_counter() - start
    cpu = time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put((seconds, cpu, peak, report.num_kept))
    print(report.table(examples=False), flush=True)


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--near", type=float, default=None, help="near-duplicate threshold")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    lines = [
        f"{'prompts':>10} {'kept':>10} {'seconds':>9} {'CPU s':>8} {'CPU us':>8} {'peak MiB':>9}"
    ]
    for number in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_prompts(Path(folder) / "in.jsonl", number)
            queue = context.Queue()
            child = context.Process(target=measure, args=(folder, number, arguments.near, queue))
            child.start()
            seconds, cpu, peak, kept = queue.get()
            child.join()
        each = cpu / number * 1e6
        lines.append(
            f"{number:>10,} {kept:>10,} {seconds:>9.1f} {cpu:>8.1f} {each:>8.1f} {peak:>9,.0f}"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
