"""Answers from another OpenAI-compatible server, whose address only the config can set.

Redirects are not followed, the environment's proxies are not used, and nothing in a request reaches
the address: a request cannot make the gateway talk to anybody else.
"""

import json
import ssl
from collections.abc import AsyncIterator
from itertools import cycle

import httpx2

from understudy.serving.wire import ApiError, ChatRequest, CompletionRequest, Json

OWN_FIELDS = {"store", "metadata", "user"}
"""Fields of a request that are for the gateway and go no further."""
PASSED_ON = {400, 404, 413, 422, 429}
"""What an upstream may blame on the client; anything else is the gateway's trouble."""

IDLE_SECONDS = 2.0
"""How long an idle connection is kept: less than servers keep theirs (Uvicorn 5 s), or a request
could meet one that is just being closed."""
NUM_POOLS = 16
"""Connections are kept in this many pools: a pool looks at all it has for each request."""
CLOSED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
"""How it shows when a request met one all the same; asking again does no harm."""


class Upstream:
    """An OpenAI-compatible server at a fixed address."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        model: str | None = None,
        key: str | None = None,
        timeout_s: float = 120,
        max_response_tokens: int = 1024,
    ) -> None:
        self.name, self.model = name, model or name
        self.max_response = max_response_tokens
        self.base = check_url(url)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        certificates = ssl.create_default_context()
        self.clients = [
            httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(timeout_s, connect=10),
                limits=httpx2.Limits(
                    max_connections=None,
                    max_keepalive_connections=None,
                    keepalive_expiry=IDLE_SECONDS,
                ),
                verify=certificates,
                follow_redirects=False,
                trust_env=False,
            )
            for _ in range(NUM_POOLS)
        ]
        self.turn = cycle(self.clients)

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            await client.aclose()

    def state(self) -> Json:
        """For the health page; the address is nobody's business."""
        return {"kind": "upstream"}

    async def answer(self, request: ChatRequest | CompletionRequest, request_id: str) -> Json:
        """The upstream's answer under our id and model name."""
        try:
            reply = await self._post(request)
        except httpx2.TransportError as error:
            raise _failed(error) from None
        if reply.status_code != 200:
            raise _refused(reply.status_code, reply.content)
        try:
            body: Json = reply.json()
            return {**body, "id": request_id, "model": self.name, "choices": body["choices"]}
        except (ValueError, KeyError, TypeError) as error:
            raise _failed(error) from None

    async def stream(
        self, request: ChatRequest | CompletionRequest, request_id: str
    ) -> AsyncIterator[Json]:
        """The upstream's chunks under our id and model name."""
        body = {**self._body(request), "stream": True, "stream_options": {"include_usage": True}}
        try:
            async with next(self.turn).stream("POST", self._url(request), json=body) as reply:
                if reply.status_code != 200:
                    raise _refused(reply.status_code, await reply.aread())
                async for line in reply.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data != "[DONE]":
                        yield {**json.loads(data), "id": request_id, "model": self.name}
        except (httpx2.TransportError, ValueError) as error:
            raise _failed(error) from None

    async def _post(self, request: ChatRequest | CompletionRequest) -> httpx2.Response:
        url, body = self._url(request), self._body(request)
        try:
            return await next(self.turn).post(url, json=body)
        except CLOSED:
            return await next(self.turn).post(url, json=body)

    def _url(self, request: ChatRequest | CompletionRequest) -> str:
        chat = isinstance(request, ChatRequest)
        return f"{self.base}/{'chat/completions' if chat else 'completions'}"

    def _body(self, request: ChatRequest | CompletionRequest) -> Json:
        body = request.model_dump(exclude_none=True, exclude=OWN_FIELDS)
        body["model"] = self.model
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        body[name] = min(body.get(name, self.max_response), self.max_response)
        return body


def check_url(url: str) -> str:
    """The URL without a slash at the end; ValueError for anything but http(s)://HOST/PATH."""
    parsed = httpx2.URL(url)
    plain = parsed.scheme in ("http", "https") and parsed.host
    if not plain or parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError(
            f"upstream is {url!r}; it must be like http://127.0.0.1:8001/v1, without a user, a "
            "query or a fragment (a key goes in the variable UNDERSTUDY_UPSTREAM_KEY)"
        )
    return url.rstrip("/")


def _refused(status: int, content: bytes) -> ApiError:
    try:
        message = str(json.loads(content)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        message = "the model's server refused the request"
    if status in PASSED_ON:
        return ApiError(status, message, code="upstream_refused")
    return ApiError(502, "the model's server failed", kind="server_error", code="upstream_failed")


def _failed(error: Exception) -> ApiError:
    return ApiError(
        502,
        f"the model's server cannot be reached ({type(error).__name__})",
        kind="server_error",
        code="upstream_failed",
    )
