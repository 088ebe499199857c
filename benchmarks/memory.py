"""Peak memory of log-probabilities and their gradient at a 128k vocabulary: whole and in chunks.

    python benchmarks/memory.py [--tokens 1024] [--vocab 128000] [--hidden 256]

Each method runs in its own process, and its peak is the growth of the process's resident memory,
inputs not included. "whole" is a plain log_softmax of all logits; "chunks" is
`models.ops.chunked_logprobs`. Writes benchmarks/memory.json.
"""

import argparse
import json
import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from understudy.models.ops import chunked_logprobs, entropy_of, logprobs_of


def measure(way: str, tokens: int, vocab: int, hidden: int, out: Connection) -> None:
    """Send (growth of peak memory in MB, mean log-probability, norm of the gradient)."""
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(tokens, hidden, generator=generator).requires_grad_()
    weight_VD = torch.randn(vocab, hidden, generator=generator).mul_(0.02).requires_grad_()
    labels_N = torch.randint(vocab, (tokens,), generator=generator)
    weight_VD.grad = torch.zeros_like(weight_VD)  # both methods need the gradient's own memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "whole":
        logits_NV = hidden_ND @ weight_VD.T
        logprobs_N, entropy_N = logprobs_of(logits_NV, labels_N), entropy_of(logits_NV)
    else:
        logprobs_N, entropy_N = chunked_logprobs(hidden_ND, weight_VD, labels_N)
    (logprobs_N.mean() + 0.01 * entropy_N.mean()).backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert hidden_ND.grad is not None
    out.send(
        ((after - before) / 1024, float(logprobs_N.detach().mean()), float(hidden_ND.grad.norm()))
    )


def main() -> None:
    """Measure both methods and write their peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=128_000)
    parser.add_argument("--hidden", type=int, default=256)
    sizes = vars(parser.parse_args())
    logits = sizes["tokens"] * sizes["vocab"] * 4 / 2**20
    results: dict[str, object] = {**sizes, "logits_mb": logits}
    context = multiprocessing.get_context("spawn")
    for way in ("whole", "chunks"):
        here, there = context.Pipe()
        arguments = (way, *sizes.values(), there)
        process = context.Process(target=measure, args=arguments)
        process.start()
        peak, logprob, gradient = here.recv()
        process.join()
        results[way] = {"peak_mb": peak, "mean_logprob": logprob, "gradient_norm": gradient}
        print(f"{way}: peak {peak:,.0f} MB (one tensor of logits is {logits:,.0f} MB)")
    path = Path(__file__).with_name("memory.json")
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
