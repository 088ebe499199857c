"""The API's shapes: what a request may say, what an answer and an error look like.

A parameter that the gateway does not honour is refused, by name: nothing is silently ignored.
"""

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

MAX_STOPS, MAX_TOP_LOGPROBS = 4, 20
Json = dict[str, Any]
Count = Annotated[int, Field(ge=1, le=10**6)]
Stop = str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None


class ApiError(HTTPException):
    """An error that the client is told of, in OpenAI's shape."""

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


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    """`{"error": {...}}` as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Strict):
    """Options of a streamed answer."""

    include_usage: bool = False


class TextPart(_Strict):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    def plain(self) -> tuple[str, str]:
        """(role, text) as a record has them."""
        role = "system" if self.role == "developer" else self.role
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return role, text


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
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    user: str | None = None
    store: bool | None = None
    """False keeps this request out of the log."""
    metadata: dict[str, str] | None = None

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

    @model_validator(mode="after")
    def _check(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        if not self.messages[-1].plain()[1].strip():
            raise ValueError("the last message is empty")
        return self

    @property
    def limit(self) -> int | None:
        """The most tokens asked for."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Request):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=64)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None

    @model_validator(mode="after")
    def _check(self) -> "CompletionRequest":
        if not all(prompt.strip() for prompt in self.prompts):
            raise ValueError("a prompt is empty")
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts as a list."""
        return [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)

    @property
    def limit(self) -> int | None:
        """The most tokens asked for."""
        return self.max_tokens


class Feedback(_Strict):
    """POST /v1/feedback: exactly one of thumb, choice and correction."""

    id: str
    """The answer's id."""
    index: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Which of several answers the thumb or the correction is for."""
    thumb: Literal["up", "down"] | None = None
    choice: Annotated[int, Field(ge=0, le=10**6)] | None = None
    """Index of the answer that the user chose."""
    correction: Annotated[str, Field(min_length=1)] | None = None
    """What the user would have wanted."""

    @model_validator(mode="after")
    def _check(self) -> "Feedback":
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
    """A whole answer without its usage."""
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
