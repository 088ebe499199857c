"""From conversations to token ids and back: the chat template's text, the loss mask, the end of a
response.

The ids of a conversation are those of `tokenizer.apply_chat_template`: it is rendered whole and
encoded whole, never in pieces. The characters of the rendered text determine which tokens the model
has to write (`chat_format`). A response ends at any of `stop_ids`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.models.chat_format import ChatError, ChatFormat, Rendered, format_of
from understudy.records.convert import visible
from understudy.records.schema import Conversation, Message, as_messages, prompt_text

Name = Callable[[int], str]
"""Maps i to the name of conversation i in error messages, such as its file and record."""
_STOPS: WeakKeyDictionary[Tokenizer, frozenset[int]] = WeakKeyDictionary()
"""Stop ids given to `add_stop_ids`, by tokenizer."""
_TEXTS = 1024
"""Texts encoded at a time; the limit bounds the memory that character offsets take."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation with its response as training input."""

    input_ids: list[int]
    """All tokens, prompt first; the template may add some after the response's end."""
    loss_mask: list[int]
    """1 at the tokens to be learned: the assistant's turns, each with the token that closes it."""
    prompt_length: int = 0
    """Tokens before the last response; earlier assistant turns belong to the prompt."""

    @property
    def end(self) -> int:
        """Tokens up to and including the last one that is learned."""
        unlearned = takewhile(lambda counts: not counts, reversed(self.loss_mask))
        return len(self.loss_mask) - sum(1 for _ in unlearned)

    def cut(self, length: int) -> "Example":
        """The first `length` tokens; a response that is cut gets no closing token."""
        return Example(self.input_ids[:length], self.loss_mask[:length], self.prompt_length)


def records_of(path: Any, start: int = 0) -> Name:
    """Names conversation i of a file by its record number, which counts from 1 after `start`
    records."""
    return lambda index: f"{path} record {start + index + 1}"


def render_prompt(tokenizer: Tokenizer, prompt: Conversation) -> list[int]:
    """Ids of a conversation up to and including the generation prompt; the response's ids follow
    directly."""
    return render_prompts(tokenizer, [prompt])[0]


def render_prompts(
    tokenizer: Tokenizer, prompts: Sequence[Conversation], name: Name | None = None
) -> list[list[int]]:
    """`render_prompt` of many conversations; equal ones are rendered once.

    ChatError, with `name(i)` for the i-th, if the chat template refuses one.
    """
    place: dict[Conversation, int] = {}
    for index, prompt in enumerate(prompts):
        place.setdefault(prompt, index)
    unique = list(place)
    encoded = _encode(
        format_of(tokenizer),
        [as_messages(prompt) for prompt in unique],
        lambda index: _called(name, place[unique[index]], unique[index]),
        with_responses=False,
    )
    ids_of = {prompt: ids for prompt, (ids, _) in zip(unique, encoded, strict=True)}
    return [ids_of[prompt] for prompt in prompts]


def encode_example(tokenizer: Tokenizer, prompt: Conversation, response: str) -> Example:
    """A conversation and its response as one training example; the loss counts every assistant turn
    except those of weight 0."""
    return encode_examples(tokenizer, [(prompt, response)])[0]


def encode_examples(
    tokenizer: Tokenizer, pairs: Sequence[tuple[Conversation, str]], name: Name | None = None
) -> list[Example]:
    """`encode_example` of many (prompt, response) pairs.

    If the template closes a response with no token, the tokenizer's EOS follows the last response.
    """
    chat = format_of(tokenizer)
    dialogues = [(*as_messages(p), Message("assistant", response)) for p, response in pairs]
    encoded = _encode(
        chat, dialogues, lambda index: _called(name, index, pairs[index][0]), with_responses=True
    )
    examples = []
    for dialogue, (ids, spans) in zip(dialogues, encoded, strict=True):
        mask = [0] * len(ids)
        own = [turn for turn in dialogue if turn.role == "assistant"]
        for turn, (first, end) in zip(own, spans, strict=True):
            if turn is own[-1] or (turn.weight and turn.content.strip()):
                mask[first:end] = [1] * (end - first)
        if not chat.turn_end:
            ids, mask = [*ids, chat.end_id], [*mask, 1]
        examples.append(Example(ids, mask, spans[-1][0]))
    return examples


def encode_responses(
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    responses: Sequence[Sequence[str]],
    name: Name | None = None,
) -> list[tuple[list[int], list[list[int]]]]:
    """(ids of the prompt, ids of each of its responses up to the closing token) for each prompt and
    its responses."""
    owner = [i for i, texts in enumerate(responses) for _ in texts]
    pairs = [(prompts[i], text) for i, texts in enumerate(responses) for text in texts]
    name_of_pair = None if name is None else lambda index: name(owner[index])
    examples = iter(encode_examples(tokenizer, pairs, name_of_pair))
    return [_shared_prompt([next(examples) for _ in texts]) for texts in responses]


def _shared_prompt(examples: Sequence[Example]) -> tuple[list[int], list[list[int]]]:
    """The tokens that all examples share before their responses, and the rest of each example."""
    length = min(example.prompt_length for example in examples)
    prompt = examples[0].input_ids[:length]
    for example in examples[1:]:
        prompt = prompt[: _common(prompt, example.input_ids)]
    return prompt, [example.input_ids[len(prompt) : example.end] for example in examples]


def decode_response(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of a response's ids: cut at the first stop token, stripped."""
    stops = stop_ids(tokenizer)
    return text_of(tokenizer, takewhile(lambda token: token not in stops, ids)).strip()


def text_of(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of tokens, without control tokens."""
    unsaid = format_of(tokenizer).unsaid
    kept = [token for token in ids if token not in unsaid]
    return str(tokenizer.decode(kept, clean_up_tokenization_spaces=False)) if kept else ""


def stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end a response: the tokenizer's EOS, the one with which the chat template
    closes an assistant turn, and those of the model's generation config (`add_stop_ids`)."""
    ours = {int(tokenizer.eos_token_id), format_of(tokenizer).end_id}
    return _STOPS.get(tokenizer, frozenset()) | ours


def add_stop_ids(tokenizer: Tokenizer, ids: int | Sequence[int] | None) -> None:
    """Add the `eos_token_id` of a model's generation config."""
    ids = [ids] if isinstance(ids, int) else list(ids or ())
    _STOPS[tokenizer] = frozenset(i for i in ids if i is not None and i >= 0)


def padding_id(tokenizer: Tokenizer) -> int:
    """Token id of padding. Any id will do, since the mask marks the padding."""
    return int(tokenizer.pad_token_id or 0)


def never_ended(tokenizer: Tokenizer, max_response_tokens: int) -> str:
    """The note to print when no response ended by itself."""
    ids = sorted(stop_ids(tokenizer))
    found = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    # The generation config may name ids that the tokenizer lacks.
    names = " or ".join(f"token {i}" if name is None else name for i, name in found)
    return (
        f"no response ended within {max_response_tokens} tokens: none wrote {visible(names)}. "
        "Either max_response_tokens is too small, or the model has not learned to end (train it on "
        "demonstrations first), or it ends its turns with another token: add that token's id to "
        "eos_token_id in its generation_config.json"
    )


def check_prompt_length(
    prompt: Conversation, ids: Sequence[int], context: int | None, where: str, response: int = 1
) -> None:
    """Raise ValueError, naming the prompt, when its ids leave no room in the context for a response
    of `response` tokens."""
    if context is None or len(ids) + response <= context:
        return
    together = f", which leaves no room for a response of {response:,}" if response > 1 else ""
    raise ValueError(
        f"{where}: the prompt {_shown(prompt)} has {len(ids):,} tokens and the model's context is "
        f"{context:,}{together}; shorten it, leave longer prompts out with --max-prompt-tokens "
        f"{max(context - response, 1)} (of this command or of understudy prompts build), "
        + ("ask for shorter responses, " if response > 1 else "")
        + "or use a model with a longer context"
    )


def _shown(prompt: Conversation) -> str:
    text = prompt_text(prompt).replace("\n", " ")
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _called(name: Name | None, index: int, prompt: Conversation) -> str:
    return f"the conversation {_shown(prompt)}" if name is None else name(index)


Encoded = tuple[list[int], list[tuple[int, int]]]
"""Ids of a conversation, and the (first, end) tokens of its assistant turns."""


def _encode(
    chat: ChatFormat, dialogues: Sequence[Sequence[Message]], name: Name, *, with_responses: bool
) -> list[Encoded]:
    """Render and encode each conversation whole; without `with_responses` each ends in the
    generation prompt."""
    rendered = []
    for index, dialogue in enumerate(dialogues):
        try:
            rendered.append(chat.render_turns(dialogue, with_responses=with_responses))
        except ChatError as error:
            raise ChatError(f"{name(index)}: the chat template fails: {error}") from None
    rows: list[Encoded] = []
    for start in range(0, len(rendered), _TEXTS):
        part = rendered[start : start + _TEXTS]
        try:
            rows += _encode_part(chat, part)
        except Exception:  # such as half a surrogate pair: find out whose
            for index, one in enumerate(part, start=start):
                try:
                    rows += _encode_part(chat, [one])
                except Exception as error:
                    reason = " ".join(str(error).split())[:200]
                    raise ChatError(f"{name(index)} cannot be encoded: {reason}") from None
    return rows


def _encode_part(chat: ChatFormat, rendered: Sequence[Rendered]) -> list[Encoded]:
    texts = [one.text for one in rendered if not one.marked]
    plain: Any = iter(())
    if texts:
        batch = chat.encode(texts)
        plain = iter(zip(batch["input_ids"], batch.encodings or [None] * len(texts), strict=True))
    rows: list[Encoded] = []
    for one in rendered:
        ids, encoding = (chat.encode_marked(one.text), None) if one.marked else next(plain)
        ids = list(ids)
        if encoding is None:
            spans = [_span_by_prefix(chat, one, ids, span) for span in one.spans]
        else:
            spans = [_span_by_offsets(encoding, span) for span in one.spans]
        rows.append((ids, spans))
    return rows


def _span_by_offsets(encoding: Any, span: tuple[int, int]) -> tuple[int, int]:
    """The tokens with a character of the span. Whitespace may belong to no token."""
    first, end = span
    start = next((t for t in map(encoding.char_to_token, range(first, end)) if t is not None), None)
    if start is None:
        return len(encoding), len(encoding)
    back = map(encoding.char_to_token, range(end - 1, first - 1, -1))
    last = next(t for t in back if t is not None)
    while last + 1 < len(encoding):  # byte tokens of one character share its offsets
        place = encoding.token_to_chars(last + 1)
        if place is None or place[0] >= end or place[0] == place[1]:
            break
        last += 1
    return start, last + 1


def _span_by_prefix(
    chat: ChatFormat, one: Rendered, ids: Sequence[int], span: tuple[int, int]
) -> tuple[int, int]:
    """The span's tokens, found by encoding the text up to its start and up to its end; for encoders
    without character offsets."""
    encode = chat.encode_marked if one.marked else lambda text: chat.encode([text])["input_ids"][0]
    first, end = (_common(ids, encode(one.text[:at])) for at in span)
    return first, end


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of leading tokens that two rows share."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
