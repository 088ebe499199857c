"""From conversations to token ids and back: whole conversations as the chat template writes them,
the loss mask, the end of an answer.

The ids of a conversation are those of `tokenizer.apply_chat_template`: it is rendered whole and
encoded whole, never in pieces. Which tokens the model is to write follows from the characters of
the rendered text (`chat_format`). An answer ends at any of `stop_ids`.
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
"""What an error calls the i-th conversation, such as its file and record."""
_STOPS: WeakKeyDictionary[Tokenizer, frozenset[int]] = WeakKeyDictionary()
"""What `add_stop_ids` was given for a tokenizer."""
_TEXTS = 1024
"""Texts encoded at a time: what the encoder knows of their characters takes memory."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation with its answer as training input."""

    input_ids: list[int]
    """All tokens, prompt first; the template may write some after the answer's end."""
    loss_mask: list[int]
    """1 at the tokens to be learned: the assistant's turns, each with the token that closes it."""
    prompt_length: int = 0
    """Tokens before the last answer; earlier answers of a conversation belong to its prompt."""

    @property
    def end(self) -> int:
        """Tokens up to and including the last one that is learned."""
        unlearned = takewhile(lambda counts: not counts, reversed(self.loss_mask))
        return len(self.loss_mask) - sum(1 for _ in unlearned)

    def cut(self, length: int) -> "Example":
        """The first `length` tokens; nothing closes an answer that goes on after them."""
        return Example(self.input_ids[:length], self.loss_mask[:length], self.prompt_length)


def records_of(path: Any) -> Name:
    """Calls the i-th conversation after a file of which it is the i-th record."""
    return lambda index: f"{path} record {index + 1}"


def render_prompt(tokenizer: Tokenizer, prompt: Conversation) -> list[int]:
    """Ids of a conversation up to and including the generation prompt; the answer's ids follow
    directly."""
    return render_prompts(tokenizer, [prompt])[0]


def render_prompts(
    tokenizer: Tokenizer, prompts: Sequence[Conversation], name: Name | None = None
) -> list[list[int]]:
    """`render_prompt` of many conversations; equal ones are rendered once.

    ChatError, which calls the i-th `name(i)`, for one that the chat template refuses.
    """
    place: dict[Conversation, int] = {}
    for index, prompt in enumerate(prompts):
        place.setdefault(prompt, index)
    unique = list(place)
    encoded = _encode(
        format_of(tokenizer),
        [as_messages(prompt) for prompt in unique],
        lambda index: _called(name, place[unique[index]], unique[index]),
        with_answers=False,
    )
    ids_of = {prompt: ids for prompt, (ids, _) in zip(unique, encoded, strict=True)}
    return [ids_of[prompt] for prompt in prompts]


def encode_example(tokenizer: Tokenizer, prompt: Conversation, response: str) -> Example:
    """A conversation and its answer as one training example; the loss counts every assistant turn
    but those of weight 0."""
    return encode_examples(tokenizer, [(prompt, response)])[0]


def encode_examples(
    tokenizer: Tokenizer, pairs: Sequence[tuple[Conversation, str]], name: Name | None = None
) -> list[Example]:
    """`encode_example` of many (prompt, response) pairs.

    Where the template closes an answer with no token, the tokenizer's EOS follows the last one.
    """
    chat = format_of(tokenizer)
    dialogues = [(*as_messages(p), Message("assistant", response)) for p, response in pairs]
    encoded = _encode(
        chat, dialogues, lambda index: _called(name, index, pairs[index][0]), with_answers=True
    )
    examples = []
    for dialogue, (ids, spans) in zip(dialogues, encoded, strict=True):
        mask = [0] * len(ids)
        answers = [turn for turn in dialogue if turn.role == "assistant"]
        for turn, (first, end) in zip(answers, spans, strict=True):
            if turn is answers[-1] or (turn.weight and turn.content.strip()):
                mask[first:end] = [1] * (end - first)
        if not chat.turn_end:
            ids, mask = [*ids, chat.end_id], [*mask, 1]
        examples.append(Example(ids, mask, spans[-1][0]))
    return examples


def encode_answers(
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    answers: Sequence[Sequence[str]],
    name: Name | None = None,
) -> list[tuple[list[int], list[list[int]]]]:
    """(ids of the prompt, ids of each of its answers up to the token that closes it) of each
    prompt and its answers."""
    owner = [i for i, texts in enumerate(answers) for _ in texts]
    pairs = [(prompts[i], text) for i, texts in enumerate(answers) for text in texts]
    name_of_pair = None if name is None else lambda index: name(owner[index])
    examples = iter(encode_examples(tokenizer, pairs, name_of_pair))
    return [_shared_prompt([next(examples) for _ in texts]) for texts in answers]


def _shared_prompt(examples: Sequence[Example]) -> tuple[list[int], list[list[int]]]:
    """The tokens that all have before their answers, and the rest of each."""
    length = min(example.prompt_length for example in examples)
    prompt = examples[0].input_ids[:length]
    for example in examples[1:]:
        prompt = prompt[: _common(prompt, example.input_ids)]
    return prompt, [example.input_ids[len(prompt) : example.end] for example in examples]


def decode_response(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of an answer's ids: cut at the first stop token, stripped."""
    stops = stop_ids(tokenizer)
    return text_of(tokenizer, takewhile(lambda token: token not in stops, ids)).strip()


def text_of(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of tokens, without control tokens."""
    unsaid = format_of(tokenizer).unsaid
    kept = [token for token in ids if token not in unsaid]
    return str(tokenizer.decode(kept, clean_up_tokenization_spaces=False)) if kept else ""


def stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's EOS, the one with which the chat template
    closes an assistant turn, and those of the model's generation config (`add_stop_ids`)."""
    ours = {int(tokenizer.eos_token_id), format_of(tokenizer).end_id}
    return _STOPS.get(tokenizer, frozenset()) | ours


def add_stop_ids(tokenizer: Tokenizer, ids: int | Sequence[int] | None) -> None:
    """Take over `eos_token_id` of a model's generation config."""
    ids = [ids] if isinstance(ids, int) else list(ids or ())
    _STOPS[tokenizer] = frozenset(i for i in ids if i is not None and i >= 0)


def padding_id(tokenizer: Tokenizer) -> int:
    """What to write where there is no token. Any id will do, as lengths say where that is."""
    return int(tokenizer.pad_token_id or 0)


def never_ended(tokenizer: Tokenizer, max_response_tokens: int) -> str:
    """What to say when no answer has ended by itself."""
    names = " or ".join(tokenizer.convert_ids_to_tokens(sorted(stop_ids(tokenizer))))
    return (
        f"no answer ended within {max_response_tokens} tokens: none wrote {visible(names)}. "
        "Either max_response_tokens is too small, or the model has not learned to end (train it on "
        "demonstrations first), or it ends its turns with another token: name that in "
        "eos_token_id of its generation_config.json"
    )


def check_prompt_length(
    prompt: Conversation, ids: Sequence[int], context: int | None, where: str, answer: int = 1
) -> None:
    """Raise ValueError, naming the prompt, when its ids leave no room in the context for an answer
    of `answer` tokens."""
    if context is None or len(ids) + answer <= context:
        return
    together = f", which {answer:,} more for an answer exceed" if answer > 1 else ""
    raise ValueError(
        f"{where}: the prompt {_shown(prompt)} has {len(ids):,} tokens and the model's context is "
        f"{context:,}{together}; shorten it, leave longer prompts out with --max-prompt-tokens "
        f"{max(context - answer, 1)} (of this command or of understudy prompts build), "
        + ("ask for shorter answers, " if answer > 1 else "")
        + "or use a model with a longer context"
    )


def _shown(prompt: Conversation) -> str:
    text = prompt_text(prompt).replace("\n", " ")
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def _called(name: Name | None, index: int, prompt: Conversation) -> str:
    return f"the conversation {_shown(prompt)}" if name is None else name(index)


Encoded = tuple[list[int], list[tuple[int, int]]]
"""Ids of a conversation, and the (first, end) tokens of its answers."""


def _encode(
    chat: ChatFormat, dialogues: Sequence[Sequence[Message]], name: Name, *, with_answers: bool
) -> list[Encoded]:
    """Each conversation, rendered whole and encoded whole; one without its last answer ends in
    the generation prompt."""
    rendered = []
    for index, dialogue in enumerate(dialogues):
        try:
            rendered.append(chat.render_turns(dialogue, with_answers=with_answers))
        except ChatError as error:
            raise ChatError(f"{name(index)}: the chat template refuses it: {error}") from None
    rows: list[Encoded] = []
    for start in range(0, len(rendered), _TEXTS):
        part = rendered[start : start + _TEXTS]
        try:
            rows += _encode_part(chat, part)
        except Exception:  # half of a surrogate pair is no text: say whose it is
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
    """The tokens that have a character of the span. White space may belong to no token."""
    first, end = span
    start = next((t for t in map(encoding.char_to_token, range(first, end)) if t is not None), None)
    if start is None:
        return len(encoding), len(encoding)
    back = map(encoding.char_to_token, range(end - 1, first - 1, -1))
    last = next(t for t in back if t is not None)
    while last + 1 < len(encoding):  # the bytes of one character are tokens of one place
        place = encoding.token_to_chars(last + 1)
        if place is None or place[0] >= end or place[0] == place[1]:
            break
        last += 1
    return start, last + 1


def _span_by_prefix(
    chat: ChatFormat, one: Rendered, ids: Sequence[int], span: tuple[int, int]
) -> tuple[int, int]:
    """The tokens after those that the text before the span has too, without an encoder's word on
    characters."""
    encode = chat.encode_marked if one.marked else lambda text: chat.encode([text])["input_ids"][0]
    first, end = (_common(ids, encode(one.text[:at])) for at in span)
    return first, end


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two rows begin with together."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
