"""Sanitises another server's responses: rebuilds them from the fields that the gateway knows.

An upstream may send anything: an error in place of a response, `choices: null`, impossible counts,
half a character. The result can be counted, recorded and sent; anything else raises BadResponse,
which the client receives as an error.
"""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from pydantic_core import from_json

from understudy.serving.wire import ANSWER_FIELDS, Json, printable, usage

PASSED_ON = ANSWER_FIELDS - {"function_call", "tool_calls"}
"""Fields beside the text that a caller gets. Nobody has offered tools, so nobody awaits a call."""
FAILED = {"abort", "error", "insufficient_system_resource"}
"""Reasons to end that mean that the response failed."""
REASONS = dict.fromkeys(("content_filter", "safety"), "content_filter") | dict.fromkeys(
    ("length", "max_tokens", "max_output_tokens", "model_length"), "length"
)
"""OpenAI's name of the reasons to end, in lower case; of any other reason, `stop`."""
MOST_TOKENS = 10**8
"""Most tokens that a request can plausibly use."""
Part = Literal["message", "delta", "text"]


class BadResponse(ValueError):
    """The other server's reply is not a valid response."""


class Halves:
    """Text in pieces, each of which may end in half a surrogate pair."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}

    def join(self, index: int, text: str, *, last: bool = False) -> str:
        """The text of a piece of response `index`, without a half that the next piece may
        complete."""
        text = self.held.pop(index, "") + text
        if not last and text and "\ud800" <= text[-1] <= "\udbff":
            self.held[index] = text[-1]
            text = text[:-1]
        return printable(text)


def parse(data: bytes) -> Any:
    """The JSON of a response; NaN and infinities become null. BadResponse for anything else."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:  # perhaps JSON with half a surrogate pair, NaN or bytes that are not UTF-8
        pass
    try:
        return json.loads(data.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise BadResponse("not JSON") from None


def choices_of(said: Any, part: Part, number: int, halves: Halves | None = None) -> list[Json]:
    """The choices of a response or chunk, at most `number` different ones."""
    if not isinstance(said, dict) or said.get("error") or said.get("object") == "error":
        raise BadResponse("an error instead of a response")
    found = said.get("choices") or []
    if not isinstance(found, list):
        raise BadResponse("choices is not a list")
    choices = []
    for choice in found:
        index = choice.get("index") or 0 if isinstance(choice, dict) else None
        if not isinstance(index, int) or not 0 <= index < number:
            raise BadResponse("a choice that was not requested")
        reason = choice.get("finish_reason")
        reason = reason.lower() if isinstance(reason, str) and reason else None
        if choice.get("error") or reason in FAILED:
            raise BadResponse("an error instead of a response")
        given = choice.get(part)
        if given is None and part == "delta" and not choice.keys() & {"message", "text"}:
            given = {}  # some servers end so
        join = partial((halves or Halves()).join, index, last=bool(reason) or halves is None)
        choices.append(
            {
                "index": int(index),
                part: _part(given, part, join),
                "logprobs": _clean(choice.get("logprobs")),
                "finish_reason": reason and REASONS.get(reason, "stop"),
            }
        )
    return choices


def usage_of(said: Json) -> Json | None:
    """Token counts; None unless plausible."""
    counts = said.get("usage")
    if not isinstance(counts, dict):
        return None
    prompt, answer = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if type(prompt) is not int or type(answer) is not int:
        return None
    if not (0 <= prompt <= MOST_TOKENS and 0 <= answer <= MOST_TOKENS):
        return None
    return usage(prompt, answer)


def _part(given: Any, part: Part, join: Callable[[str], str]) -> Any:
    """The text of a choice, or the message or delta that contains it."""
    if part == "text":
        return join(_text(given) or "")
    if not isinstance(given, dict):
        raise BadResponse(f"a choice without {part}")
    kept = {name: _clean(given[name]) for name in PASSED_ON if name in given}
    if part == "message" or given.get("role"):
        kept["role"] = "assistant"
    text = _text(given.get("content"))
    joined = join(text or "")
    if part == "message" or "content" in given or joined:
        kept["content"] = joined if joined or text is not None else None
    return kept


def _text(given: Any) -> str | None:
    if given is None:
        return None
    if isinstance(given, list):  # parts, some of which may be the model's thoughts
        texts = [one.get("text") for one in given if isinstance(one, dict)]
        given = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(given, str):
        raise BadResponse("content is not text")
    return given


def _clean(value: Any) -> Any:
    """A JSON value that can be encoded."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {printable(name): _clean(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
