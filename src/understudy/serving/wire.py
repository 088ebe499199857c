"""The API's schemas: requests, responses and errors.

The gateway refuses a parameter that it does not honour by name, unless its value requests nothing
(`tools=[]`, `response_format={"type": "text"}`): clients send such values by default.
"""

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException

MAX_STOPS, MAX_TOP_LOGPROBS = 4, 20
Json = dict[str, Any]
OWN_FIELDS = {
    "best_of",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
    "user",
}
"""Fields of a request that only the gateway reads; they are not passed on."""
Count = Annotated[int, Field(ge=1, le=10**6)]
Stop = str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None


class ApiError(HTTPException):
    """An error for the client, in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.body = error_body(message, kind, code, param)


def printable(text: str) -> str:
    """A text that can be encoded: an unpaired surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    """`{"error": {...}}` in OpenAI's format."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(error: ValidationError) -> ApiError:
    """What is wrong with a request, in OpenAI's words."""
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    *where, branch = first["loc"] or [None]
    # A field may be a string or a list: for a list, report what is wrong with the list.
    if first["type"] == "string_type" and branch == "str":
        same = (one for one in others if one["loc"][: len(where)] == tuple(where))
        first = next((one for one in same if one["type"] != "list_type"), first)
    param = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in _named(first)
    ).removeprefix(".")
    param = printable(param)
    if first["type"] == "extra_forbidden":
        return ApiError(
            400, f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param
        )
    if first["type"] == "missing":
        code, message = "missing_required_parameter", f"Missing required parameter: '{param}'."
        return ApiError(400, message, code=code, param=param)
    code = first["type"] if first["type"] == UNSUPPORTED else "invalid_value"
    message = printable(first["msg"].removeprefix("Value error, "))
    return ApiError(
        400, f"{param}: {message}" if param else message, code=code, param=param or None
    )


def _named(error: ErrorDetails) -> list[int | str]:
    """Where an error is, without pydantic's names for the members of a union."""
    return [p for p in error["loc"] if isinstance(p, int) or p not in ("str", "list[str]")]


UNSUPPORTED = "unsupported_value"
NO_TOOLS = "the gateway has no tools"
NO_MEDIA = "the gateway supports text only"
Idle = dict[str, tuple[tuple[Any, ...], str]]
IDLE: Idle = {
    "frequency_penalty": ((0,), "penalties are not supported"),
    "logit_bias": (({},), "it is not supported"),
    "presence_penalty": ((0,), "penalties are not supported"),
    "service_tier": (("auto", "default"), "the gateway has only one tier"),
}
"""Parameter -> the values that request nothing, which alone are accepted; why others are not."""
CHAT_IDLE: Idle = {
    **IDLE,
    "audio": ((), NO_MEDIA),
    "function_call": (("none", "auto"), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "modalities": ((["text"], []), NO_MEDIA),
    "moderation": ((), "it is not supported"),
    "parallel_tool_calls": ((True, False), NO_TOOLS),
    "prediction": ((), "it is not supported"),
    "reasoning_effort": (("none",), "the model does not reason separately from its response"),
    "response_format": (({"type": "text"},), 'only {"type": "text"} is supported'),
    "tool_choice": (("none", "auto"), NO_TOOLS),
    "tools": (([],), NO_TOOLS),
    "verbosity": (("medium",), "it is not supported"),
    "web_search_options": ((), NO_TOOLS),
}
COMPLETION_IDLE: Idle = {
    **IDLE,
    "echo": ((False,), "the prompt is not echoed"),
    "suffix": (("",), "the gateway continues a text only at its end"),
}


def drop_idle(given: Any, idle: Idle) -> Any:
    """A request without the parameters that request nothing; ApiError names one that does."""
    if not isinstance(given, dict):
        return given
    if not idle.keys() & given.keys():
        return given
    for name, (values, why) in idle.items():
        value = given.get(name)
        if not any(_same(value, one) for one in (None, *values)):
            message = f"{name}: {why}; leave it out"
            raise ApiError(400, message, code=UNSUPPORTED, param=name)
    return {name: value for name, value in given.items() if name not in idle}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(_Strict):
    """Options of a streamed response."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Accepted and without effect: chunks are never padded."""


def _text(content: Any) -> Any:
    """A message's content as one text: a string, or parts of type text (or refusal)."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("content must be a text or a list of parts")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if kind in ("text", "refusal") else None
        if not isinstance(text, str):
            shown = kind if isinstance(kind, str) else type(part).__name__
            message = "parts of type {kind} are not supported; send parts of type text"
            raise PydanticCustomError(UNSUPPORTED, message, {"kind": repr(printable(shown[:40]))})
        texts.append(text)
    return "".join(texts)


class ChatMessage(_Strict):
    """One turn. A response of the gateway may be sent back unchanged."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str | None,
        BeforeValidator(_text),
        WithJsonSchema({"type": ["string", "array", "null"]}),
    ] = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_sent(cls, given: Any) -> Any:
        """Drop nulls and what a response carries beside its text; refuse turns of tools."""
        if not isinstance(given, dict):
            return given
        given = {n: value for n, value in given.items() if value is not None or n == "content"}
        if given.get("role") in ("tool", "function"):
            raise PydanticCustomError(UNSUPPORTED, "the gateway has no tools, so no turns of tools")
        for name in ("tool_calls", "function_call"):
            if given.get(name):
                raise PydanticCustomError(UNSUPPORTED, "the gateway has no tools, so no calls")
        if given.get("role") != "assistant":
            if not given.keys() & ANSWER_FIELDS:
                return given
            return {n: value for n, value in given.items() if n not in ANSWER_FIELDS or value}
        if given.get("content") is None and isinstance(given.get("refusal"), str):
            given = {**given, "content": given["refusal"]}
        return {name: value for name, value in given.items() if name not in ANSWER_FIELDS}

    @model_validator(mode="after")
    def _has_content(self) -> "ChatMessage":
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        return self

    def plain(self) -> tuple[str, str]:
        """(role, text) for a record."""
        return "system" if self.role == "developer" else self.role, self.content or ""


ANSWER_FIELDS = {
    "annotations",
    "audio",
    "function_call",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "tool_calls",
}
"""Fields beside the text that OpenAI-compatible servers add to a response's message."""


class _Request(_Strict):
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: Stop = None
    max_tokens: Count | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    """False keeps this request out of the log."""
    user: Any = None
    """This and the following describe the client; they change nothing and are not kept."""
    metadata: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None

    @model_validator(mode="after")
    def _check_stream(self) -> "_Request":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream to be true")
        return self

    def sent(self) -> Json:
        """The body sent to an upstream: only what the gateway honours."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and name not in OWN_FIELDS
        }

    @property
    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


class ChatRequest(_Request):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_idle(cls, given: Any) -> Any:
        return drop_idle(given, CHAT_IDLE)

    @model_validator(mode="after")
    def _check(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        if not self.messages[-1].plain()[1].strip():
            raise ValueError("the last message is empty")
        return self

    def sent(self) -> Json:
        """The body sent to an upstream: only what the gateway honours."""
        messages = [
            {
                "role": m.role,
                "content": m.content or "",
                **({} if m.name is None else {"name": m.name}),
            }
            for m in self.messages
        ]
        return {**super().sent(), "messages": messages}

    @property
    def limit(self) -> int | None:
        """The most tokens requested."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Request):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=64)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_idle(cls, given: Any) -> Any:
        return drop_idle(given, COMPLETION_IDLE)

    @model_validator(mode="after")
    def _check(self) -> "CompletionRequest":
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of must equal n: every response drawn is sent")
        if not all(prompt.strip() for prompt in self.prompts):
            raise ValueError("a prompt is empty")
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts as a list."""
        return [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)

    @property
    def limit(self) -> int | None:
        """The most tokens requested."""
        return self.max_tokens


class Feedback(_Strict):
    """POST /v1/feedback: exactly one of thumb, choice and correction."""

    id: str
    """The response's id."""
    index: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Index of the response that the thumb or the correction is for."""
    thumb: Literal["up", "down"] | None = None
    choice: Annotated[int, Field(ge=0, le=10**6)] | None = None
    """Index of the response that the user chose."""
    correction: Annotated[str, Field(min_length=1)] | None = None
    """What the user would have wanted."""

    @model_validator(mode="after")
    def _check(self) -> "Feedback":
        if self.correction is not None and not self.correction.strip():
            raise ValueError("the correction is empty")
        given = [self.thumb, self.choice, self.correction]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give exactly one of thumb, choice and correction")
        return self

    def value(self) -> tuple[str, str | int]:
        """(kind, value)."""
        if self.thumb is not None:
            return "thumb", self.thumb
        if self.choice is not None:
            return "choice", self.choice
        assert self.correction is not None
        return "correction", self.correction


def envelope(kind: str, request_id: str, model: str, choices: list[Json]) -> Json:
    """A whole response without its usage."""
    return {
        "id": request_id,
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "choices": choices,
    }


def usage(prompt_tokens: int, completion_tokens: int) -> Json:
    """Token counts."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
