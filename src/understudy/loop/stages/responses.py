"""Stages that sample: a model's responses to prompts, and a reward model's scores of responses.

Responses depend only on (seed, model name, prompt, number of the sample), so sharding and order
change nothing.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from understudy.engines.sampling import draw_responses, merge_identical
from understudy.loop.sample import draw_varying, room_for_responses
from understudy.loop.stage_call import StageCall
from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Prompt, Response, iter_records, read_records, write_records
from understudy.world.corpus import FORUM_TEMPLATE

AS_IT_STANDS = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""The paper's base model gets only the prompt (s3.5)."""
LABEL = FORUM_TEMPLATE.partition("\n")[2].partition("{")[0].strip()
BATCH = 128
"""Prompts between two reports of progress."""


def respond(call: StageCall) -> None:
    """Inputs model, prompts (one or more files), optional prefix (text before every prompt).

    Config: name, seed, plain (the bare prompt, without a chat template), temperature,
    greedy, num_samples or [min_answers, max_answers] with identical ones merged,
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
    sampling = dict(seed=config["seed"], max_new_tokens=limit, model_name=config["name"])
    responses: list[Response] = []
    for done, part in _parts(prompts):
        call.progress(done, len(prompts))
        if "min_answers" in config:
            drawn = draw_varying(
                model,
                tokenizer,
                part,
                min_answers=config["min_answers"],
                max_answers=config["max_answers"],
                temperature=config["temperature"],
                **sampling,
            )
            responses += merge_identical(drawn)
        else:
            responses += draw_responses(
                model,
                tokenizer,
                part,
                num_samples=config.get("num_samples", 1),
                temperature=config.get("temperature", 1.0),
                greedy=config.get("greedy", False),
                **sampling,
            )
    if config.get("plain"):
        responses = [replace(r, response=without_label(r.response)) for r in responses]
    write_records(call.out / "responses.jsonl", responses)


def without_label(text: str) -> str:
    """The text of a forum's reply, for a base model that first writes the reply's label."""
    return text.removeprefix(LABEL).lstrip() or text


def score(call: StageCall) -> None:
    """Inputs reward_model and responses (files); scores.json maps response id to score."""
    model, tokenizer = load_scalar(call.path("reward_model"))
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    scores: dict[str, float] = {}
    for done, part in _parts(responses, 8 * BATCH):
        call.progress(done, len(responses))
        values = score_texts(model, tokenizer, [r.prompt for r in part], [r.response for r in part])
        scores |= {r.id: value for r, value in zip(part, values, strict=True)}
    (call.out / "scores.json").write_text(json.dumps(scores))


def add_prefix(tokenizer: Any, prefix: str) -> None:
    """Let every rendered prompt begin with `prefix`: the paper's prompted base model (s3.5)."""
    template = str(tokenizer.chat_template)
    tokenizer.chat_template = "{{ " + json.dumps(prefix) + " }}" + template


def _parts(rows: Sequence, size: int = BATCH) -> Iterator[tuple[int, list]]:
    rest = iter(rows)
    done = 0
    while part := list(islice(rest, size)):
        yield done, part
        done += len(part)
