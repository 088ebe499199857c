"""Responses to prompts as records: for labelers to rank, for evaluation, for best-of-n.

responses = draw_responses(model, tokenizer, prompts, num_samples=4, temperature=1.0, seed=0,
                           max_new_tokens=48, model_name="sft")
"""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import Generation, generate
from understudy.models.chat import (
    check_prompt_length,
    decode_response,
    never_ended,
    padding_id,
    render_prompts,
)
from understudy.models.policies import Policy, say_once
from understudy.models.trunk import context_length
from understudy.records.schema import Prompt, Response


def draw_responses(
    model: Policy,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    *,
    num_samples: int,
    temperature: float = 1.0,
    seed: int,
    max_new_tokens: int,
    model_name: str,
    greedy: bool = False,
    slots: int = 256,
    on_end: Callable[[int], None] = lambda number: None,
    draw: Callable[..., list[Generation]] | None = None,
) -> list[Response]:
    """`num_samples` responses to each prompt, grouped by prompt, in the prompts' order.

    A response's noise depends on (seed, model name, prompt id, its number), so a response does not
    depend on what else is drawn, and two models' responses are independent. With common noise,
    similar models would respond identically to most prompts, and comparisons would say little about
    preference. Greedy responses are all equal, so `num_samples` must be 1. `on_end` gets the number
    of responses that just ended. `draw` replaces `generation.generate`; the model then needs no
    weights.
    """
    if num_samples < 1 or (greedy and num_samples > 1):
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1, and 1 if greedy")
    room, name_key = context_length(model), id_key(model_name)
    prompt_ids = render_prompts(
        tokenizer, [prompt.prompt for prompt in prompts], lambda i: f"prompt {prompts[i].id}"
    )
    for prompt, ids in zip(prompts, prompt_ids, strict=True):
        check_prompt_length(prompt.prompt, ids, room, f"prompt {prompt.id}", max_new_tokens)
    draw = draw or partial(generate, model, greedy=greedy, pad_id=padding_id(tokenizer))
    generations = draw(
        [ids for ids in prompt_ids for _ in range(num_samples)],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        keys=[(name_key, id_key(prompt.id), k) for prompt in prompts for k in range(num_samples)],
        stop_ids=model.stop_ids,
        slots=slots,
        on_end=on_end,
    )
    shown_temperature = 0.0 if greedy else temperature
    owners = [(prompt, k) for prompt in prompts for k in range(num_samples)]
    return [
        Response(
            id=response_id(model_name, prompt.id, seed, shown_temperature, k),
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            response=decode_response(tokenizer, generation.ids),
            model=model_name,
            temperature=shown_temperature,
            seed=seed,
            finished=generation.finished,
            logprob=sum(generation.logprobs),
        )
        for (prompt, k), generation in zip(owners, generations, strict=True)
    ]


def say_if_none_ended(responses: Sequence[Response], tokenizer: Tokenizer, limit: int) -> None:
    """Print a note on standard error if none of a model's responses ended within `limit` tokens."""
    if responses and not any(response.finished for response in responses):
        say_once(f"{responses[0].model}: {never_ended(tokenizer, limit)}")


def id_key(text: str) -> int:
    """63 bits of a text's sha256: a stable number for the noise, unlike Python's own hash."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1


def response_id(model: str, prompt_id: str, seed: int, temperature: float, number: int) -> str:
    """An opaque id, the same for the same draw."""
    text = "\0".join(map(str, (model, prompt_id, seed, temperature, number)))
    return "r-" + sha256(text.encode()).hexdigest()[:16]


def merge_identical(responses: Sequence[Response]) -> list[Response]:
    """The first of each set of equal responses to a prompt; a labeler need not rank a text
    twice."""
    first: dict[tuple[str, str], Response] = {}
    for response in responses:
        first.setdefault((response.prompt_id, response.response), response)
    return list(first.values())
