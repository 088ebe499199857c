"""The base model's own verdict on a response, without any labels.

On the web, readers comment after a reply's end mark: "good." or "bad: ...". The base model's
verdict is the log-odds of "good" versus "bad" there. Its agreement with the gold judge and with
labelers shows what a reward model would know without labels."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from understudy.evaluation.compare import by_prompt
from understudy.evaluation.statistics import Interval, win_rate
from understudy.loop.stage_call import StageCall
from understudy.models.batching import by_token_budget, pad
from understudy.models.policies import load_policy
from understudy.records import Prompt, Ranking, Response, prompt_text, read_records
from understudy.world.corpus import FORUM_TEMPLATE
from understudy.world.world import World

BATCH_TOKENS = 16_384
POOLS = {"training": "training_labelers", "held_out": "heldout_labelers"}
SAME = 1e-9
"""Gold scores that differ by less count as equal."""


@torch.no_grad()
def verdicts(model: Any, tokenizer: Any, responses: Sequence[Response]) -> list[float]:
    """Log-odds, in nats, of "good" against "bad" after each response and its end mark."""
    threads = [
        FORUM_TEMPLATE.format(prompt=prompt_text(r.prompt), reply=r.response) for r in responses
    ]
    words = [tokenizer(f" {word}")["input_ids"][0] for word in ("good", "bad")]
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(threads)["input_ids"]]
    found = torch.zeros(len(rows))
    for group in by_token_budget([len(row) + 1 for row in rows], BATCH_TOKENS):
        logprobs = []
        for word in words:
            ids_BT, mask_BT = pad([[*rows[i], word] for i in group], int(tokenizer.pad_token_id))
            last_BT = torch.zeros_like(mask_BT)
            last_BT[torch.arange(len(group)), mask_BT.sum(1) - 1] = 1
            logprobs.append(model.logprobs(ids_BT, mask_BT, at_BT=last_BT)[0].sum(1))
        found[torch.tensor(group)] = logprobs[0] - logprobs[1]
    return [float(value) for value in found]


def without_labels(call: StageCall) -> None:
    """without_labels.json: how often the base's verdicts order a pair of responses as the gold
    judge does, and as each pool of labelers does. Inputs: model, prompts, responses, rankings."""
    model, tokenizer = load_policy(call.path("model"))
    prompts = {p.id: p for p in read_records(call.path("prompts"), Prompt)}
    every = [r for path in call.paths("responses") for r in read_records(path, Response)]
    responses = [r for r in every if r.prompt_id in prompts]
    call.progress(0, 1, "verdicts")
    values = verdicts(model, tokenizer, responses)
    verdict_of = {(r.prompt_id, r.response): v for r, v in zip(responses, values, strict=True)}
    gold = accuracy(gold_pairs(World(call.config["seed"]), responses), verdict_of, prompts)
    table = gold.to_json()
    rankings = read_records(call.path("rankings"), Ranking)
    for role, name in POOLS.items():
        pairs = [
            (one.prompt_id, one.responses[better], one.responses[worse])
            for one in rankings
            if one.labeler_role == role
            for better, worse in one.pairs()
        ]
        if pairs:
            table[name] = accuracy(pairs, verdict_of, prompts).to_json()
    (call.out / "without_labels.json").write_text(json.dumps(table, indent=1))


def gold_pairs(world: World, responses: Sequence[Response]) -> list[tuple[str, str, str]]:
    """(prompt id, better, worse) for every two responses to a prompt with different gold scores."""
    found = []
    for prompt_id, members in by_prompt(responses).items():
        gold = [(world.judge.score(r.prompt, r.response).total, r.response) for r in members]
        found += [
            (prompt_id, better, worse)
            for high, better in gold
            for low, worse in gold
            if high - low > SAME
        ]
    return found


def accuracy(
    pairs: Sequence[tuple[str, str, str]],
    verdict_of: Mapping[tuple[str, str], float],
    prompts: Mapping[str, Prompt],
) -> Interval:
    """Share of pairs (prompt id, better, worse) that the verdicts order in the same way; equal
    verdicts count half."""
    gaps = [verdict_of[p, better] - verdict_of[p, worse] for p, better, worse in pairs]
    asked = [prompt_id for prompt_id, _, _ in pairs]
    right = [0.5 if gap == 0 else float(gap > 0) for gap in gaps]
    return win_rate(right, asked, [prompts[prompt_id].user_id for prompt_id in asked])
