"""Stages that measure a model itself: benchmarks and pretraining loss (s4.1, App. D), and how far
it is from another."""

import json
from typing import Any

import torch

from understudy.evaluation.benchmarks import read_benchmark, run_all, write_items
from understudy.evaluation.statistics import mean_interval
from understudy.loop.stage_call import StageCall
from understudy.models.chat import encode_responses
from understudy.models.policies import load_policy
from understudy.models.text import read_text, text_loss
from understudy.records import Prompt, Response, read_records
from understudy.rl.passes import make_passes

ROW_LENGTH = 128
"""Tokens in a row of text, as in pretraining."""


def tax(call: StageCall) -> None:
    """tax.json: benchmarks (name to score with interval) and pretraining_loss (nats per token)."""
    model, tokenizer = load_policy(call.path("model"))
    paths = sorted(call.path("benchmarks").glob("*.jsonl"))
    scores: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    for done, path in enumerate(paths):
        call.progress(done, len(paths) + 1, path.stem)
        found, rows = run_all(model, tokenizer, [read_benchmark(path)])
        scores |= found
        items += rows
    write_items(call.out, {call.out.name: items})
    loss = text_loss(model, tokenizer, read_text(call.path("text")), length=ROW_LENGTH)
    table = {"benchmarks": scores, "pretraining_loss": loss}
    (call.out / "tax.json").write_text(json.dumps(table, indent=1))


@torch.no_grad()
def divergence(call: StageCall) -> None:
    """kl.json: mean sum of log(model / reference) of the model's own responses, in nats."""
    model, tokenizer = load_policy(call.path("model"))
    reference, _ = load_policy(call.path("reference"))
    users = {prompt.id: prompt.user_id for prompt in read_records(call.path("prompts"), Prompt)}
    rows = read_records(call.path("responses"), Response)
    encoded = encode_responses(
        tokenizer, [row.prompt for row in rows], [[row.response] for row in rows], str
    )
    prompt_ids, response_ids = [ids for ids, _ in encoded], [each[0] for _, each in encoded]
    kl_B = torch.zeros(len(rows))
    device = torch.device("cpu")
    for batch in make_passes(
        prompt_ids, response_ids, range(len(rows)), pad_id=0, budget=4096, device=device
    ):
        ours_N, theirs_N = (
            one.eval().logprobs_at(*batch.where, batch.labels_N)[0] for one in (model, reference)
        )
        kl_B.index_add_(0, batch.rows_B[batch.row_N], ours_N - theirs_N)
    by_user = [users[row.prompt_id] for row in rows]
    table = {"kl": mean_interval(kl_B.tolist(), None, by_user).to_json("mean")}
    (call.out / "kl.json").write_text(json.dumps(table, indent=1))
