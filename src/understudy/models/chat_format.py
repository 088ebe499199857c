"""One tokenizer's chat format, found by rendering: where a response begins, what ends it, and
template behaviour that affects training and sampling.

A tokenizer without a chat template gets `PLAIN_TEMPLATE`, which is then saved with it. Users' and
labelers' words stay text: the name of a control token inside a turn is encoded as ordinary text
(`transformers` marks it, see `apply_chat_template(sanitize_control_tokens=True)`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

from understudy.records.schema import Message

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""`User: ...`, `Assistant:` on separate lines: for base models without a chat format."""

_SYSTEM = Message("system", "rule zero")
_DIALOGUE = (
    Message("user", "question one"),
    Message("assistant", "answer one"),
    Message("user", "question two"),
    Message("assistant", "answer two"),
)
_REASON = "reason one"
_THOUGHT = Message("assistant", f"<think>{_REASON}</think>answer one")
_HOLE = "\ue0f0{}\ue0f1"
"""Placeholder for a turn's content; private-use characters, which no template treats specially."""


class ChatError(ValueError):
    """A conversation that a tokenizer's chat template cannot write."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the template writes it."""

    text: str
    """The text, cut at the last response's end if the template closes it with no token."""
    spans: list[tuple[int, int]]
    """(first, end) characters that the model has to write in each assistant turn, turn end
    included."""
    marked: bool
    """Whether a turn contains the name of a control token; encode it with `encode_marked`."""


class ChatFormat:
    """A tokenizer's chat format. Use `format_of`, which makes one per tokenizer."""

    header: str
    """Beginning of an assistant turn, if the template writes no generation prompt itself."""
    turn_end: str
    """The end of an assistant turn, up to and including its closing token; "" without one."""
    end_id: int
    """The token that closes a response: the template's, else the tokenizer's EOS."""
    unsaid: frozenset[int]
    """Ids that are not part of a response's text: special tokens and turn marks."""
    notes: list[str]
    """Template behaviour that users should know about; empty for most."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        ensure_template(tokenizer)
        self._tokenizer = ref(tokenizer)  # weak: `_FORMATS` must not keep tokenizers alive
        self.template = tokenizer.chat_template
        self.end_id = int(tokenizer.eos_token_id)
        self.header = self.turn_end = ""
        self.notes = []
        self._prompts: dict[tuple[Message, ...], str] = {}
        self.added = {
            token.content: token
            for token in tokenizer.added_tokens_decoder.values()
            if token.content.strip()
        }
        special = {name for name, token in self.added.items() if token.special}
        special |= {str(token) for token in tokenizer.all_special_tokens}
        self._set_control(special)
        self._examine(special)

    # Text

    def render(self, messages: Sequence[Message], *, generation: bool) -> str:
        """The template's text, with the beginning of a response if `generation`; ChatError if it
        refuses.

        Names of control tokens in the turns' contents are marked, for `encode_marked`.
        """
        turns: Any = [{"role": turn.role, "content": turn.content} for turn in messages]
        if self.names_control(messages):
            turns = mark_control_tokens(turns, self._control)
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation
            )
        except Exception as error:  # a template may raise anything
            raise ChatError(_reason(error)) from None
        return str(text) + (self.header if generation else "")

    def render_turns(self, messages: Sequence[Message], *, with_responses: bool) -> Rendered:
        """A conversation that ends in its response, or in the generation prompt; ChatError if a
        response cannot be located."""
        marked = self.names_control(messages)
        if not with_responses:
            return Rendered(self.render(messages, generation=True), [], marked)
        text = self.render(messages, generation=False)
        spans: list[tuple[int, int]] = []
        holes: list[str] | None = None
        for index, turn in enumerate(messages):
            if turn.role != "assistant":
                continue
            span = self._span_by_prefix(text, messages[: index + 1], index + 1 == len(messages))
            if span is None:
                holes = self._around_holes(messages) if holes is None else holes
                span = self._span_between(text, holes, index, messages)
            spans.append(span)
        if not self.turn_end and messages[-1].role == "assistant":
            text = text[: spans[-1][1]]
        return Rendered(text, spans, marked)

    def _span_by_prefix(
        self, text: str, messages: Sequence[Message], whole: bool
    ) -> tuple[int, int] | None:
        """The span of the last turn of `messages`, if the text begins with the template's text for
        them; `whole` if they are the whole conversation."""
        content = mark_control_tokens(messages[-1].content.strip(), self._control)
        try:
            before = self._before(tuple(messages[:-1]))
            after = text if whole else self.render(messages, generation=False)
        except ChatError:  # a template may refuse an empty history
            return None
        ending = self.turn_end or content
        end = after.rfind(ending) + len(ending) if ending else len(before)
        if len(before) > end or not text.startswith(before) or not text.startswith(after[:end]):
            return None
        return len(before), end

    def _before(self, messages: tuple[Message, ...]) -> str:
        """The text before a response; cached, since a prompt has many responses."""
        if messages not in self._prompts:
            if len(self._prompts) >= _PROMPTS_KEPT:
                self._prompts.clear()
            self._prompts[messages] = self.render(messages, generation=True)
        return self._prompts[messages]

    def _around_holes(self, messages: Sequence[Message]) -> list[str]:
        """The text before, between and after the turns' contents."""
        holes = [Message(m.role, _HOLE.format(i)) for i, m in enumerate(messages)]
        text = self.render(holes, generation=False)
        pieces = []
        for hole in holes:
            piece, found, text = text.partition(hole.content)
            if not found:
                raise ChatError(
                    f"it leaves out, moves or rewrites a turn of the {hole.role}; leave such rows "
                    "out, put a system turn's text into the user's, or change the template"
                )
            pieces.append(piece)
        return [*pieces, text]

    def _span_between(
        self, text: str, pieces: Sequence[str], index: int, messages: Sequence[Message]
    ) -> tuple[int, int]:
        """The span of turn `index` in a text that rewrites contents but not their surroundings."""
        at = 0
        for number, piece in enumerate(pieces[: index + 1]):
            if number and not text.startswith(piece, at):
                content = mark_control_tokens(messages[number - 1].content, self._control)
                kept = next((c for c in (content, content.strip()) if text.startswith(c, at)), "")
                at = text.find(piece, at + len(kept))
            if at < 0 or not text.startswith(piece, at):
                raise ChatError("it rewrites the turns, so the responses cannot be located")
            at += len(piece)
        tail = pieces[index + 1]
        stop = text.find(tail, at) if tail else len(text)
        if stop < 0:
            raise ChatError("it rewrites the turns, so the responses cannot be located")
        ends = self.turn_end and tail.startswith(self.turn_end)
        return at, stop + (len(self.turn_end) if ends else 0)

    # Ids

    def names_control(self, messages: Sequence[Message]) -> bool:
        """Whether a turn contains the name of a control token."""
        return any(self._control.search(turn.content) for turn in messages)

    def encode(self, texts: Sequence[str]) -> Any:
        """Ids of unmarked texts, with character offsets if the encoder has them."""
        return self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )

    def encode_marked(self, text: str) -> list[int]:
        """Ids of a marked text."""
        return list(encode_marked_chat(self.tokenizer, text))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        tokenizer = self._tokenizer()
        assert tokenizer is not None, "a format is asked only about its own tokenizer"
        return tokenizer

    # What the template does

    def _examine(self, special: set[str]) -> None:
        """Find header and turn end, compare a two-turn dialogue both ways, take notes."""
        question, dialogue = _DIALOGUE[:1], _DIALOGUE[:2]
        try:
            bare, prompt = (self.render(question, generation=flag) for flag in (False, True))
        except ChatError as error:
            raise ValueError(f"the chat template cannot write a user's turn: {error}") from None
        if _DIALOGUE[0].content not in prompt:
            raise ValueError("the chat template leaves out what the user says")
        turn = self._try(dialogue, "a turn of the assistant")
        if turn is None:
            return
        before, found, tail = turn.rpartition(_DIALOGUE[1].content)
        if not found:
            self.notes.append("leaves out or rewrites what the assistant says")
            return
        self._find_turn_end(tail)
        self._find_header(bare, prompt, before)
        self._compare(turn)
        self._find_refusals()
        # Turn marks that the tokenizer does not mark as special are control tokens too.
        marks = set(_any_of(self.added).findall(f"{bare}{before}{self.turn_end}"))
        self._set_control(special | (marks - _WORDS_OF_RESPONSES))

    def _set_control(self, names: set[str]) -> None:
        self._control = _any_of(names)
        said = {name for name in names if _BYTE.fullmatch(name)}  # byte tokens spell text
        self.unsaid = frozenset(self.tokenizer.convert_tokens_to_ids(sorted(names - said)))

    def _try(self, messages: Sequence[Message], what: str) -> str | None:
        try:
            return self.render(messages, generation=False)
        except ChatError as error:
            self.notes.append(f"refuses {what} ({error})")
            return None

    def _find_turn_end(self, tail: str) -> None:
        found = _any_of(self.added).search(tail)
        if found is not None:
            self.turn_end = tail[: found.end()]
            self.end_id = int(self.tokenizer.convert_tokens_to_ids(found.group()))
            return
        with_what = f"with {tail!r} instead of" if tail else "without"
        self.notes.append(
            f"closes a response {with_what} a control token, so {self.tokenizer.eos_token} follows "
            "the last response of each row"
        )

    def _find_header(self, bare: str, prompt: str, before: str) -> None:
        """`before` is the text up to the response in a dialogue that includes it."""
        if before.startswith(prompt) and (prompt != bare or not before[len(bare) :].strip()):
            return
        if prompt == bare and before.startswith(bare):
            self.header = before[len(bare) :].rstrip(" ")
            self.notes.append(f"has no generation prompt: {self.header!r}, from its turns, is used")
        else:
            self.notes.append(
                f"ends a prompt in {prompt[-40:]!r}, but begins a response after {before[-40:]!r}: "
                "the model sees other prompts in sampling than in training"
            )

    def _compare(self, turn: str) -> None:
        """Compare a whole two-turn dialogue with its steps: prompt, response, prompt."""
        prompt = self.render(_DIALOGUE[:1], generation=True)
        first = turn[: turn.rfind(self.turn_end) + len(self.turn_end)] if self.turn_end else turn
        try:
            history = self.render(_DIALOGUE[:3], generation=True)
            last = self.render([_DIALOGUE[0], _THOUGHT], generation=False)
            thought = self.render([_DIALOGUE[0], _THOUGHT, _DIALOGUE[2]], generation=True)
        except ChatError as error:
            self.notes.append(f"refuses a second turn ({error})")
            return
        if _REASON not in last:
            self.notes.append(
                "strips a response's text before </think>: reasoning is never learned, not even in "
                "the last turn"
            )
        elif not history.startswith(first):
            self.notes.append("writes an earlier response differently from the last one")
        elif _THOUGHT.content not in thought:
            self.notes.append(
                "strips a response's text before </think> once another turn follows, so rows with "
                "several turns teach the earlier responses without that text"
            )
        whole = self.tokenizer(first, add_special_tokens=False)["input_ids"]
        alone = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if first.startswith(prompt) and whole[: len(alone)] != alone:
            self.notes.append(
                f"merges the end of a prompt, {prompt[-12:]!r}, and the start of the response into "
                "one token, so the model sees other tokens in sampling than in training"
            )

    def _find_refusals(self) -> None:
        text = self._try([_SYSTEM, *_DIALOGUE[:1]], "a system turn")
        if text is not None and _SYSTEM.content not in text:
            self.notes.append("leaves out a system turn")
        elif text is not None:
            whole = self._try([_SYSTEM, *_DIALOGUE[:2]], "a response after a system turn")
            if whole is not None and _SYSTEM.content not in whole:
                self.notes.append("leaves out a system turn once the response is there")
        if "strftime_now" in str(self.template):
            self.notes.append(
                "writes today's date: a run that is resumed on another day reads other prompts"
            )
        self._try([_DIALOGUE[0], _DIALOGUE[2]], "two turns of one role in a row")


_BYTE = re.compile("<0x[0-9A-F]{2}>")
_PROMPTS_KEPT = 1024
_WORDS_OF_RESPONSES = {"<think>", "</think>"}
"""Marks that a reasoning model writes itself, though its template may write them too."""


def _any_of(names: Any) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def ensure_template(tokenizer: Tokenizer) -> None:
    """Give a tokenizer without a chat template the plain one, with a BOS token if it adds one to
    text."""
    if tokenizer.chat_template:
        return
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [
        tokenizer.bos_token_id
    ]
    tokenizer.chat_template = ("{{ bos_token }}" if starts_with_bos else "") + PLAIN_TEMPLATE


_FORMATS: WeakKeyDictionary[Tokenizer, ChatFormat] = WeakKeyDictionary()


def format_of(tokenizer: Tokenizer) -> ChatFormat:
    """The chat format of a tokenizer, examined once per template."""
    known = _FORMATS.get(tokenizer)
    if known is None or known.template != tokenizer.chat_template:
        known = _FORMATS[tokenizer] = ChatFormat(tokenizer)
    return known
