"""From conversations to token ids and back: the chat template, the loss mask, the end of an answer.

A conversation is rendered by the tokenizer's own chat template; a tokenizer without one gets
`PLAIN_TEMPLATE`, which is then saved with it. Turns of the assistant are encoded here in one way
only, in training as in sampling: a leading space unless the generation prompt already ends in white
space, the text, and the end-of-sequence token. An EOS written inside a user's or labeler's text
stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.records.schema import Conversation, Message, as_messages, prompt_text

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""`User: ...`, `Assistant:` on lines of their own: for base models that know no chat format."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation with its answer as training input."""

    input_ids: list[int]
    """All tokens, prompt first."""
    loss_mask: list[int]
    """1 at the tokens to be learned: the assistant's, their EOS included."""


def ensure_template(tokenizer: Tokenizer) -> None:
    """Give a tokenizer without a chat template the plain one, with the BOS token that it puts
    before text."""
    if tokenizer.chat_template:
        return
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [
        tokenizer.bos_token_id
    ]
    tokenizer.chat_template = ("{{ bos_token }}" if starts_with_bos else "") + PLAIN_TEMPLATE


def render_prompt(tokenizer: Tokenizer, prompt: Conversation) -> list[int]:
    """Ids of a conversation up to and including the generation prompt; the answer's ids follow
    directly."""
    return render_prompts(tokenizer, [prompt])[0]


def render_prompts(tokenizer: Tokenizer, prompts: Sequence[Conversation]) -> list[list[int]]:
    """`render_prompt` of many conversations; equal ones are rendered once."""
    ensure_template(tokenizer)
    unique = list(dict.fromkeys(prompts))
    simple = [p for p in unique if all(turn.role != "assistant" for turn in as_messages(p))]
    texts = [_template_text(tokenizer, as_messages(p), generation=True) for p in simple]
    ids_of: dict[Conversation, list[int]] = dict(
        zip(simple, _encode_texts(tokenizer, texts), strict=True)
    )
    for prompt in unique:
        if prompt not in ids_of:
            ids_of[prompt] = _encode_turns(tokenizer, as_messages(prompt)).input_ids
    return [ids_of[prompt] for prompt in prompts]


def encode_response(tokenizer: Tokenizer, text: str, limit: int | None = None) -> list[int]:
    """Ids of an answer, ending in EOS; one cut at `limit` tokens has no EOS, as nothing ends
    there."""
    return encode_responses(tokenizer, [text], limit)[0]


def encode_responses(
    tokenizer: Tokenizer, texts: Sequence[str], limit: int | None = None
) -> list[list[int]]:
    """`encode_response` of many answers."""
    space = "" if _prompt_ends_in_space(tokenizer) else " "
    stripped = [text.strip() for text in texts]
    rows = _encode_texts(tokenizer, [space + t if t else "" for t in stripped], special=False)
    return [[*row, tokenizer.eos_token_id][:limit] for row in rows]


def encode_example(
    tokenizer: Tokenizer,
    prompt: Conversation,
    response: str,
    max_response_tokens: int | None = None,
) -> Example:
    """A conversation and its answer as one training example; the loss counts every assistant
    turn."""
    return encode_examples(tokenizer, [(prompt, response)], max_response_tokens)[0]


def encode_examples(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[Conversation, str]],
    max_response_tokens: int | None = None,
) -> list[Example]:
    """`encode_example` of many (prompt, response) pairs."""
    answers = encode_responses(tokenizer, [response for _, response in pairs], max_response_tokens)
    prompts = render_prompts(tokenizer, [prompt for prompt, _ in pairs])
    examples = []
    for (prompt, _), prompt_ids, answer in zip(pairs, prompts, answers, strict=True):
        mask = [0] * len(prompt_ids)
        if any(turn.role == "assistant" for turn in as_messages(prompt)):
            mask = _encode_turns(tokenizer, as_messages(prompt)).loss_mask
        examples.append(Example([*prompt_ids, *answer], [*mask, *[1] * len(answer)]))
    return examples


def decode_response(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of an answer's ids: cut at the first EOS, special tokens dropped, stripped."""
    ids = list(ids)
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text).strip()


def check_prompt_length(
    prompt: Conversation, ids: Sequence[int], room: int | None, where: str
) -> None:
    """Raise ValueError, naming the prompt, when its ids leave no room for an answer in the
    context."""
    if room is not None and len(ids) >= room:
        shown = prompt_text(prompt).replace("\n", " ")[:60]
        raise ValueError(
            f"{where}: the prompt {shown!r}... has {len(ids)} tokens and the model's context is "
            f"{room}; shorten or drop it, or use a model with a longer context"
        )


def _encode_turns(tokenizer: Tokenizer, messages: Sequence[Message]) -> Example:
    """A conversation that ends with a user turn, its assistant turns encoded as `encode_response`
    does.

    The template's text is cut before and after each assistant turn; what lies between is encoded as
    it is, without the template's own EOS after the turn, since ours is there already.
    """
    messages = [
        Message(turn.role, turn.content.strip()) if turn.role == "assistant" else turn
        for turn in messages
    ]
    ids: list[int] = []
    mask: list[int] = []
    done = ""
    for index, turn in enumerate(messages):
        if turn.role != "assistant":
            continue
        before = _template_text(tokenizer, messages[:index], generation=True)
        after = _template_text(tokenizer, messages[: index + 1], generation=False)
        end = after.find(turn.content, len(before))
        if not before.startswith(done) or not after.startswith(before) or end < 0:
            raise ValueError(
                "this tokenizer's chat template rewrites earlier turns, so the answers in a "
                "conversation cannot be told apart; use single-turn data or another template"
            )
        between = _encode_texts(tokenizer, [_without_eos(tokenizer, before[len(done) :], done)])[0]
        answer = encode_response(tokenizer, turn.content)
        ids += between + answer
        mask += [0] * len(between) + [1] * len(answer)
        done = after[: end + len(turn.content)]
    rest = _template_text(tokenizer, messages, generation=True)
    if not rest.startswith(done):
        raise ValueError(
            "this tokenizer's chat template rewrites earlier turns; use single-turn data"
        )
    tail = _encode_texts(tokenizer, [_without_eos(tokenizer, rest[len(done) :], done)])[0]
    return Example(ids + tail, mask + [0] * len(tail))


def _without_eos(tokenizer: Tokenizer, text: str, done: str) -> str:
    return text.removeprefix(str(tokenizer.eos_token)) if done else text


def _template_text(tokenizer: Tokenizer, messages: Sequence[Message], *, generation: bool) -> str:
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    text: Any = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=generation
    )
    return str(text)


def _encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True
) -> list[list[int]]:
    """Ids of texts as they are; with `special=False` the name of a special token is ordinary
    text."""
    if not texts:
        return []
    encoded: Any = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=not special,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return [list(row) for row in encoded["input_ids"]]


_ENDS_IN_SPACE: "WeakKeyDictionary[Tokenizer, tuple[str, bool]]" = WeakKeyDictionary()


def _prompt_ends_in_space(tokenizer: Tokenizer) -> bool:
    ensure_template(tokenizer)
    template = str(tokenizer.chat_template)
    known = _ENDS_IN_SPACE.get(tokenizer)
    if known is None or known[0] != template:
        text = _template_text(tokenizer, [Message("user", "x")], generation=True)
        known = _ENDS_IN_SPACE[tokenizer] = (template, text[-1:].isspace())
    return known[1]
