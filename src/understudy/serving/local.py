"""Responses from a model in this process."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from understudy.models.chat import padding_id, render_prompt
from understudy.models.policies import Policy
from understudy.models.trunk import context_length
from understudy.records import Message
from understudy.serving.batcher import Batcher, Job, Token
from understudy.serving.text import TextStream
from understudy.serving.wire import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Json,
    envelope,
    usage,
)

BYTES = {char: byte for byte, char in bytes_to_unicode().items()}
"""The byte that each character of a byte-level vocabulary (GPT-2's) stands for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a token added to one of the responses."""

    index: int
    """Index of the response."""
    text: str
    """New text; "" while something is held back."""
    token: Token | None
    """The token, if it is part of the text (a stop token is not)."""
    finish: str | None
    """Why the response ends here: stop or length."""


class LocalModel:
    """A model that serves several requests at a time."""

    def __init__(
        self,
        model: Policy,
        tokenizer: Tokenizer,
        *,
        name: str,
        slots: int = 32,
        max_prompt_tokens: int = 1024,
        max_response_tokens: int = 1024,
        max_waiting: int = 512,
    ) -> None:
        self.name, self.tokenizer = name, tokenizer
        room = context_length(model) or max_prompt_tokens + max_response_tokens
        self.context = min(room, max_prompt_tokens + max_response_tokens)
        self.max_prompt, self.max_response = max_prompt_tokens, max_response_tokens
        self.max_waiting = max_waiting
        self.batcher = Batcher(
            model,
            stop_ids=model.stop_ids,
            pad_id=padding_id(tokenizer),
            slots=slots,
            capacity=self.context,
        )

    async def close(self) -> None:
        """End the model's thread."""
        await asyncio.to_thread(self.batcher.close)

    def state(self) -> Json:
        """For the health page."""
        state = "ok" if self.batcher.thread.is_alive() else "failing"
        return {"kind": "model", "state": state, "unfinished": self.batcher.num_unfinished()}

    async def answer(self, request: ChatRequest | CompletionRequest, request_id: str) -> Json:
        """The whole response."""
        prompts = await self._prompts(request)
        chat = isinstance(request, ChatRequest)
        number = len(prompts) * (request.n or 1)
        texts, reasons = [""] * number, ["length"] * number
        tokens: list[list[Token]] = [[] for _ in range(number)]
        drawn = 0
        async for piece in self._pieces(request, prompts):
            drawn += 1
            texts[piece.index] += piece.text
            reasons[piece.index] = piece.finish or reasons[piece.index]
            if piece.token is not None:
                tokens[piece.index].append(piece.token)
        choices = [
            {
                "index": index,
                **_said(chat, texts[index], whole=True),
                "logprobs": self._logprobs(request, tokens[index]),
                "finish_reason": reasons[index],
            }
            for index in range(number)
        ]
        kind = "chat.completion" if chat else "text_completion"
        counts = usage(sum(map(len, prompts)), drawn)
        return {**envelope(kind, request_id, self.name, choices), "usage": counts}

    async def stream(
        self, request: ChatRequest | CompletionRequest, request_id: str
    ) -> AsyncIterator[Json]:
        """The response in chunks; the last has the usage and no choice."""
        prompts = await self._prompts(request)
        chat = isinstance(request, ChatRequest)
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = envelope(kind, request_id, self.name, [])
        drawn = 0
        begun: set[int] = set()
        async for piece in self._pieces(request, prompts):
            drawn += 1
            asked = self._logprobs(request, [piece.token] if piece.token else [])
            if not (piece.text or piece.finish or asked):
                continue
            said = _said(chat, piece.text, whole=False, first=piece.index not in begun)
            begun.add(piece.index)
            choice = {
                "index": piece.index,
                **said,
                "logprobs": asked,
                "finish_reason": piece.finish,
            }
            yield {**head, "choices": [choice]}
        yield {**head, "usage": usage(sum(map(len, prompts)), drawn)}

    async def _prompts(self, request: ChatRequest | CompletionRequest) -> list[list[int]]:
        """Token ids of each prompt; ApiError if it exceeds a limit."""
        prompts = await asyncio.to_thread(self._encode, request)
        limit = min(self.max_prompt, self.context - 1)
        for ids in prompts:
            if not 1 <= len(ids) <= limit:
                raise ApiError(
                    400,
                    f"the prompt has {len(ids)} tokens; the limit is {limit}",
                    code="context_length_exceeded",
                    param="messages" if isinstance(request, ChatRequest) else "prompt",
                )
        number = len(prompts) * (request.n or 1)
        if self.batcher.num_unfinished() + number > self.max_waiting:
            raise ApiError(
                503,
                "too many requests are waiting; try again",
                kind="server_error",
                code="overloaded",
                headers={"Retry-After": "1"},
            )
        return prompts

    def _encode(self, request: ChatRequest | CompletionRequest) -> list[list[int]]:
        try:
            if isinstance(request, ChatRequest):
                turns = (message.plain() for message in request.messages)
                messages = tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]
                return [render_prompt(self.tokenizer, messages)]
            encoded: Any = self.tokenizer(request.prompts, split_special_tokens=True, verbose=False)
            return [list(ids) for ids in encoded["input_ids"]]
        except ApiError:
            raise
        except Exception as error:  # a template may refuse a role
            raise ApiError(400, f"the model cannot read this conversation: {error}") from None

    async def _pieces(
        self, request: ChatRequest | CompletionRequest, prompts: Sequence[list[int]]
    ) -> AsyncIterator[Piece]:
        """Pieces of all responses as they come; closing the generator cancels them."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[int, Token]] = asyncio.Queue()
        seed = secrets.randbits(62) if request.seed is None else request.seed
        jobs: list[Job] = []
        texts: list[TextStream] = []
        for ids in prompts:
            for _ in range(request.n or 1):
                index = len(jobs)

                def emit(token: Token, index: int = index) -> None:
                    loop.call_soon_threadsafe(arrived.put_nowait, (index, token))

                jobs.append(self._job(request, ids, seed, index, emit))
                chat = isinstance(request, ChatRequest)
                texts.append(TextStream(self.tokenizer, request.stops, strip=chat))
        running = set(range(len(jobs)))
        self.batcher.submit(jobs)
        try:
            while running:
                index, token = await arrived.get()
                if token.error:
                    raise ApiError(500, "the model failed", kind="server_error")
                if index not in running:
                    continue
                piece = self._piece(index, token, texts[index])
                if piece.finish:
                    running.discard(index)
                    jobs[index].cancelled = True
                yield piece
        finally:
            for job in jobs:
                job.cancelled = True

    def _job(
        self,
        request: ChatRequest | CompletionRequest,
        ids: list[int],
        seed: int,
        index: int,
        emit: Any,
    ) -> Job:
        limit = min(request.limit or self.max_response, self.max_response, self.context - len(ids))
        num_top = request.top_logprobs if isinstance(request, ChatRequest) else request.logprobs
        return Job(
            prompt=ids,
            max_new_tokens=limit,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed,
            number=index,
            num_top=num_top or 0,
            emit=emit,
        )

    def _piece(self, index: int, token: Token, text: TextStream) -> Piece:
        ended = token.id in self.batcher.stop_ids
        new = "" if ended else text.push(token.id)
        if not (text.stopped or token.last):
            return Piece(index, new, token, None)
        new += text.finish()
        finish = "stop" if ended or text.stopped else "length"
        return Piece(index, new, None if ended else token, finish)

    def _logprobs(
        self, request: ChatRequest | CompletionRequest, tokens: Sequence[Token]
    ) -> Json | None:
        """The tokens' log-probabilities in the format of the request's kind."""
        if isinstance(request, ChatRequest):
            if not request.logprobs:
                return None
            shown = [
                {
                    **self._shown(token.id, token.logprob),
                    "top_logprobs": [self._shown(*one) for one in token.top],
                }
                for token in tokens
            ]
            return {"content": shown, "refusal": None}
        if request.logprobs is None:
            return None
        texts = [self._token_text(token.id) for token in tokens]
        offsets = [sum(map(len, texts[:i])) for i in range(len(texts))]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self._token_text(name): value for name, value in token.top} for token in tokens
            ],
            "text_offset": offsets,
        }

    def _shown(self, token_id: int, logprob: float) -> Json:
        text = self._token_text(token_id)
        return {"token": text, "logprob": logprob, "bytes": self._token_bytes(token_id, text)}

    def _token_bytes(self, token_id: int, text: str) -> list[int]:
        """The token's bytes, even if they are only part of a character, which `text` cannot
        show."""
        piece = str(self.tokenizer.convert_ids_to_tokens(token_id))
        if "\ufffd" not in text or piece == text:
            return list(text.encode())
        if piece.startswith("<0x"):  # SentencePiece's notation for a byte
            return [int(piece[3:-1], 16)]
        return [BYTES[char] for char in piece if char in BYTES]

    def _token_text(self, token_id: int) -> str:
        return str(self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False))


def _said(chat: bool, text: str, *, whole: bool, first: bool = False) -> Json:
    """The part of a choice that holds the text."""
    if not chat:
        return {"text": text}
    if whole:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}
    return {"delta": {"role": "assistant", "content": text} if first else {"content": text}}
