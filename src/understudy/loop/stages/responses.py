"""Stages that sample: a model's responses to prompts, and a reward model's scores of responses.

Responses depend only on (seed, model name, prompt, number of the sample), so sharding and order
change nothing.
"""

import json
from dataclasses import replace
from typing import Any

from understudy.engines.sampling import merge_identical
from understudy.loop.sample import draw_varying, num_responses, room_for_responses
from understudy.loop.stage_call import StageCall
from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Prompt, Response, iter_records, read_records, write_records
from understudy.world.corpus import FORUM_TEMPLATE

AS_IT_STANDS = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""The paper's base model gets only the prompt (s3.5)."""
LABEL = FORUM_TEMPLATE.partition("\n")[2].partition("{")[0].strip()
BATCH = 1024
"""Responses scored between two reports of progress."""


def respond(call: StageCall) -> None:
    """Inputs: model, prompts (one or more files); optional: prefix (text before every prompt).

    Config: name, seed, plain (the bare prompt, without a chat template), temperature,
    greedy, num_samples or [min_answers, max_answers] with identical responses merged,
    max_response_tokens, max_prompts, shard [i, n]: every n-th prompt from the i-th on.
    """
    config = call.config
    prompts = [p for path in call.paths("prompts") for p in iter_records(path, Prompt)]
    index, count = config.get("shard", (0, 1))
    prompts = prompts[: config.get("max_prompts")][index::count]
    model, tokenizer = load_policy(call.path("model"))
    if config.get("plain"):
        tokenizer.chat_template = AS_IT_STANDS
    if call.paths("prefix"):
        add_prefix(tokenizer, call.path("prefix").read_text(encoding="utf-8"))
    limit = room_for_responses(model, tokenizer, prompts, config["max_response_tokens"])
    number = config.get("num_samples", 1)
    bounds = config.get("min_answers", number), config.get("max_answers", number)
    total = sum(num_responses(prompt, *bounds, config["seed"]) for prompt in prompts)
    done = 0

    def ended(count: int) -> None:
        nonlocal done
        done += count
        call.progress(done, total)

    # All prompts at once, because decoding few rows at a time is slow.
    responses = draw_varying(
        model,
        tokenizer,
        prompts,
        min_answers=bounds[0],
        max_answers=bounds[1],
        temperature=config.get("temperature", 1.0),
        greedy=config.get("greedy", False),
        seed=config["seed"],
        max_new_tokens=limit,
        model_name=config["name"],
        on_end=ended,
    )
    if "min_answers" in config:
        responses = merge_identical(responses)
    if config.get("plain"):
        responses = [replace(r, response=without_label(r.response)) for r in responses]
    write_records(call.out / "responses.jsonl", responses)


def without_label(text: str) -> str:
    """The text of a forum's reply, for a base model that first writes the reply's label."""
    return text.removeprefix(LABEL).lstrip() or text


def score(call: StageCall) -> None:
    """scores.json: response id to score. Inputs: reward_model, responses (files)."""
    model, tokenizer = load_scalar(call.path("reward_model"))
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    scores: dict[str, float] = {}
    for start in range(0, len(responses), BATCH):
        part = responses[start : start + BATCH]
        call.progress(start, len(responses))
        values = score_texts(model, tokenizer, [r.prompt for r in part], [r.response for r in part])
        scores |= {r.id: value for r, value in zip(part, values, strict=True)}
    (call.out / "scores.json").write_text(json.dumps(scores))


def add_prefix(tokenizer: Any, prefix: str) -> None:
    """Let every rendered prompt begin with `prefix`: the paper's prompted base model (s3.5)."""
    template = str(tokenizer.chat_template)
    tokenizer.chat_template = "{{ " + json.dumps(prefix) + " }}" + template
