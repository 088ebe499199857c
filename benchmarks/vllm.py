"""Rollouts by a vLLM server beside the native engine: seconds, and differences of log-probs.

    python benchmarks/vllm.py --model FOLDER --vllm http://127.0.0.1:8000 [--updates 3]

Start the server as docs/scale.md says. It receives the policy's weights and draws a response to
each of 8 prompts, and does so again after each small random change of all weights. "fp64" is the
policy in double precision. Prints a line of JSON per update.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from understudy.engines.replica import Replica
from understudy.engines.vllm import Server
from understudy.models.chat import padding_id, render_prompts
from understudy.models.policies import load_policy
from understudy.rl.rollout import remeasure, sample
from understudy.rl.served import Served
from understudy.training.ranks import ALONE

TEXTS = (
    *("Name a prime number.", "Where does Anna live?", "List three foods.", "Who are you?"),
    *("Write a poem about the sea.", "What is 2 + 2?", "Explain gravity.", "Where is Lund?"),
)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--vllm", required=True)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    policy, tokenizer = load_policy(args.model)
    server = Server(args.vllm)
    server.check(args.model, policy.config, tokenizer)
    prompts = render_prompts(tokenizer, TEXTS)
    sampling: dict[str, Any] = dict(
        keys=[(0, i) for i in range(len(prompts))], seed=0, temperature=args.temperature,
        max_response_tokens=args.tokens, stop_ids=policy.stop_ids, pad_id=padding_id(tokenizer),
        slots=8,
    )  # fmt: skip
    own: dict[str, Any] = dict(temperature=args.temperature, micro_batch_tokens=1024)
    with tempfile.TemporaryDirectory() as folder:
        served = Served(server, tokenizer, Path(folder) / "rollout" / "model", ALONE)
        for _ in range(args.updates):
            start = time.monotonic()
            served.hand_over(policy)
            pushed = time.monotonic()
            episodes = sample(policy, prompts, engine=served, **sampling)
            drawn = time.monotonic()
            theirs = episodes.old_logprobs_BR[episodes.mask_BR].double()
            remeasure(policy, episodes, **own)
            ours = episodes.old_logprobs_BR[episodes.mask_BR].double()
            policy.model.double()
            remeasure(policy, episodes, **own)
            exact = episodes.old_logprobs_BR[episodes.mask_BR].double()
            policy.model.float()
            again = time.monotonic()
            native = sample(policy, prompts, engine=Replica(policy), **sampling)
            row = {
                "tokens": len(theirs),
                "seconds_hand_over": pushed - start,
                "seconds_vllm": drawn - pushed,
                "tokens_native": int(native.mask_BR.sum()),
                "seconds_native": time.monotonic() - again,
                "largest": float((theirs - ours).abs().max()),
                "mean": float((theirs - ours).abs().mean()),
                "vllm_from_fp64": float((theirs - exact).abs().max()),
                "ours_from_fp64": float((ours - exact).abs().max()),
            }
            print(json.dumps(row), flush=True)
            with torch.no_grad():
                for parameter in policy.parameters():
                    parameter.add_(2e-3 * parameter.abs().mean() * torch.randn(parameter.shape))


if __name__ == "__main__":
    main()
