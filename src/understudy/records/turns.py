"""Reads conversations of public data sets as turns: other role names, `from`/`value` pairs, and
transcripts in a single text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.records.convert import Json, RecordError, shortened

Turns = list[Json]
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_WEIGHTS = ("weight", "train", "training", "trainable", "loss", "loss_weight", "train_detail")
"""Keys of a turn that say whether it is learned."""
_CALLS = ("tool_calls", "function_call", "tool_call_id")
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thought")
"""Keys of text that a model wrote before its response."""
_SPEAKER = re.compile(r"(?:^\s*|\n\n)(Human|Assistant):")


def blank(value: Any) -> bool:
    """Whether a value is empty: null, white space, an empty list or object."""
    if isinstance(value, str):
        return value.strip() in ("", "[]", "{}", "null")
    return value is None or (isinstance(value, list | tuple | Mapping) and not value)


def turns_of(value: Any, name: str) -> Turns:
    """The turns of a list of turns, of a single one, or of either as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            check_not_printed(value, name)
            raise RecordError(f"field '{name}' is text, not a list of turns") from None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise RecordError(f"field '{name}' is {shortened(value)}; it must be a list of turns")
    return [_turn(turn, f"{name}[{place}]") for place, turn in enumerate(value)]


def exchanges(value: Any, name: str) -> Turns:
    """`turns_of`, also of texts by user and assistant in turn (LIMA), and of pairs of an input and
    an output (Capybara)."""
    items = value if isinstance(value, list | tuple) else []
    if any(isinstance(item, str) for item in items):
        value = [
            {"role": ("user", "assistant")[place % 2], "content": text}
            for place, text in enumerate(items)
        ]
    elif items and all(isinstance(item, Mapping) and "output" in item for item in items):
        sides = {"input": "user", "output": "assistant"}
        value = [
            {"role": role, "content": item.get(side)}
            for item in items
            for side, role in sides.items()
        ]
    return turns_of(value, name)


def written_turns(text: Any) -> bool:
    """Whether a value is JSON text of turns, as tables without lists hold them."""
    if not isinstance(text, str) or not text.lstrip().startswith(("[", "{")):
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    turns = [found] if isinstance(found, Mapping) else found
    return bool(turns) and all(
        isinstance(turn, Mapping) and str(turn.get(_role_key(turn))).strip().lower() in _ROLES
        for turn in turns
    )


def check_not_printed(value: Any, name: str) -> None:
    """RecordError for turns as Python prints them, which pandas writes to CSV files."""
    if isinstance(value, str) and _PRINTED.match(value):
        raise RecordError(
            f"field '{name}' is a list of turns as Python prints it; write it as JSON (json.dumps)"
        )


_PRINTED = re.compile(
    r"\s*(?:\[\s*)?\{\s*'(?:(?:role|from)': '(?:system|user|human|assistant|gpt)'"
    r"|(?:content|value)': ['\"].*'(?:role|from)': ')",
    re.DOTALL,
)


def _role_key(turn: Mapping[str, Any]) -> str:
    """Tables give all turns the keys of all conventions, null where a turn has none."""
    return "from" if turn.get("role") is None and "from" in turn else "role"


def _turn(turn: Any, name: str) -> Json:
    if not isinstance(turn, Mapping):
        raise RecordError(f"field '{name}' is {shortened(turn)}; it must be an object")
    role_key = _role_key(turn)
    text_key = "value" if turn.get("content") is None and "value" in turn else "content"
    for key in _CALLS:
        if not blank(turn.get(key)):
            raise RecordError(f"field '{name}.{key}' is a tool call, which no trainer supports")
    for key in THOUGHTS:
        if not blank(turn.get(key)):
            raise RecordError(
                f"field '{name}.{key}' is text outside the response; put it into '{text_key}' if "
                "it is to be learned, or delete it"
            )
    said = turn.get(role_key)
    if said is None:
        raise RecordError(f"field '{name}.{role_key}' is missing")
    role = _ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        known = "'system', 'user', 'assistant'"
        raise RecordError(f"field '{name}.{role_key}' is {said!r}; it must be one of {known}")
    read = {"role": role, "content": _content(turn.get(text_key), f"{name}.{text_key}")}
    return read if _weight(turn, name) else read | {"weight": 0}


def _content(value: Any, name: str) -> str:
    """The text of a turn, also in parts of type text."""
    parts = value if isinstance(value, list | tuple) else []
    if parts and all(isinstance(part, Mapping) and part.get("type") for part in parts):
        kind = next((part["type"] for part in parts if part["type"] != "text"), None)
        if kind is not None:
            raise RecordError(f"field '{name}' has a part of type {kind!r}; only text is supported")
        texts = [_content(part.get("text"), f"{name}[{i}].text") for i, part in enumerate(parts)]
        return "".join(texts)
    if not isinstance(value, str):
        raise RecordError(f"field '{name}' is {shortened(value)}; it must be text")
    return value


def _weight(turn: Mapping[str, Any], name: str) -> bool:
    """Whether a turn is learned."""
    for key in _WEIGHTS:
        value = turn.get(key)
        if value is not None and value not in (0, 1):
            raise RecordError(
                f"field '{name}.{key}' is {shortened(value)}; it must be 1 (learned) or 0 (not)"
            )
        if value is not None and not value:
            return False
    return True


def transcript(text: Any) -> Turns | None:
    """The turns of an HH-RLHF transcript; None for any other text.

    >>> transcript("\\n\\nHuman: Hi\\n\\nAssistant: Hello")[1]
    {'role': 'assistant', 'content': 'Hello'}
    """
    if not isinstance(text, str) or not re.match(r"\s*Human:", text):
        return None
    _, *pieces = _SPEAKER.split(text)
    if "Assistant" not in pieces[::2]:
        return None
    return [
        {"role": _ROLES[who.lower()], "content": said.strip()}
        for who, said in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def conversation(prompt: Any, name: str = "prompt") -> Turns:
    """The turns of a prompt: a list of them, an open transcript, or text, which is one turn."""
    if not isinstance(prompt, str):
        return turns_of(prompt, name)
    turns = transcript(prompt)
    if turns is not None and turns[-1] == {"role": "assistant", "content": ""}:
        return turns[:-1]
    return [{"role": "user", "content": prompt}]


def as_prompt(turns: Turns, given: Any = None) -> Any:
    """Turns as the field `prompt`: unchanged if `given` has the same content, else as a list."""
    if isinstance(given, str) and turns == [{"role": "user", "content": given}]:
        return given
    if len(turns) == 1 and isinstance(given, str) and turns[0]["role"] == "user":
        return turns[0]["content"]
    return turns


def with_system(prompt: Any, system: Any, name: str) -> Any:
    """A prompt under a system turn; RecordError if it has another one already."""
    if not isinstance(system, str):
        raise RecordError(f"field '{name}' is {shortened(system)}; it must be text")
    turns = conversation(prompt)
    first = turns[0] if turns else {}
    if first.get("role") == "system":
        if first["content"].strip() != system.strip():
            raise RecordError(f"field '{name}' differs from the system turn; keep one of the two")
        return prompt
    return [{"role": "system", "content": system}, *turns]


def same_turns(first: Sequence[Json], second: Sequence[Json]) -> bool:
    """Whether two histories are equal up to white space around the turns."""
    return [_bare(turn) for turn in first] == [_bare(turn) for turn in second]


def _bare(turn: Json) -> tuple[str, str]:
    return turn["role"], turn["content"].strip()


def split_response(turns: Turns, name: str) -> tuple[Turns, str]:
    """(the turns before it, the last response); RecordError if the last turn is not the
    assistant's."""
    if not turns or turns[-1]["role"] != "assistant":
        raise RecordError(f"field '{name}' must be a list of turns that ends with the assistant's")
    return turns[:-1], turns[-1]["content"]


def after_prompt(turns: Turns, base: Turns | None, name: str) -> Turns:
    """The whole conversation of a prompt and of turns that repeat or continue it."""
    if base is None or not turns:
        return turns
    if turns[0]["role"] == "assistant":
        return [*base, *turns]
    for start in (0, 1):  # the turns may begin with a system turn that the prompt lacks
        if start and turns[0]["role"] != "system":
            break
        if same_turns(turns[start : start + len(base)], base):
            return turns
    raise RecordError(
        f"field '{name}' neither begins with the prompt nor continues it; delete the prompt if "
        f"'{name}' is the whole conversation"
    )
