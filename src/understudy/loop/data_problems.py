"""Problems of readable rows: identical, contradictory and blank responses, duplicates, prompts
shared with the validation set, control characters, several speakers in one text, responses that
repeat their prompt."""

import re
from collections.abc import Hashable, Sequence
from typing import Any

from understudy.records import Demonstration, Feedback, Prompt, Ranking
from understudy.records.convert import visible
from understudy.records.overlap import Placed, prompt_key
from understudy.records.schema import as_messages
from understudy.records.turns import written_turns

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""Characters that can move a terminal's cursor and hide text."""
_MARKUP = re.compile(
    r"<\|(?:im_start|im_end|user|assistant|system|start_header_id|eot_id|end|endoftext)\|>"
    r"|\[/?INST\]|<(?:start|end)_of_turn>|<extra_id_\d+>"
)
"""What only a chat template writes."""
_ASKS = re.compile(r"^[ \t]*(?:#{2,} *)?(?:human|user|instruction):", re.IGNORECASE | re.MULTILINE)
_REPLIES = re.compile(
    r"^[ \t]*(?:#{2,} *)?(?:assistant|response|gpt|bot):", re.IGNORECASE | re.MULTILINE
)


def problems_of(placed: Placed) -> list[str]:
    """A line for each kind of problem, with the number of rows and the place of the first."""
    demonstrations, rankings, feedback, prompts = (
        [(place, record) for place, record in placed if isinstance(record, kind)]
        for kind in (Demonstration, Ranking, Feedback, Prompt)
    )
    found = [
        (_equal_responses(rankings), "rankings prefer a response to one with the same text"),
        (_contradictions(rankings), "rankings contradict an earlier one by the same labeler"),
        (_blank_responses(rankings), "rankings have a blank response"),
        (_repeated(rankings, _ranking_key), "rankings repeat an earlier one exactly"),
        (_repeated(demonstrations, _example_key), "demonstrations are exact duplicates"),
        (_blank_responses(feedback), "feedback records have a blank response"),
        (_repeated(feedback, _feedback_key), "feedback records repeat an earlier one exactly"),
        (_reversed(feedback), "feedback records contradict an earlier one of the same response"),
        (_repeated(prompts, lambda p: prompt_key(p.prompt)), "prompts are exact duplicates"),
        (_blank_turns(placed), "rows have a user's turn without text"),
        (_echoes(placed), "rows repeat the prompt where the response begins; delete it there"),
    ]
    lines = [line(places, text) for places, text in found if places]
    return lines + _control_characters(placed) + _several_speakers(placed)


_SINGULAR = {
    "s are exact duplicates": " is an exact duplicate",
    "s are ": " is ",
    "s have ": " has ",
    "s prefer ": " prefers ",
    "s contradict ": " contradicts ",
    "s repeat ": " repeats ",
    "s fill ": " fills ",
}
"""How a problem's text begins when one row has it."""


def line(places: Sequence[str], text: str) -> str:
    """The problem, with the number of rows and the place of the first.

    >>> line(["line 7"], "rankings have a blank response")
    '1 ranking has a blank response (first: line 7)'
    """
    if len(places) == 1:
        for plural, singular in _SINGULAR.items():
            text = text.replace(plural, singular, 1)
    return f"{len(places):,} {text} (first: {places[0]})"


def _example_key(record: Demonstration) -> Hashable:
    return prompt_key(record.prompt), record.response.strip()


def _ranking_key(record: Ranking) -> Hashable:
    return prompt_key(record.prompt), record.responses, record.tiers, record.labeler_id


def _feedback_key(record: Feedback) -> Hashable:
    return prompt_key(record.prompt), record.response, record.desirable, record.labeler_id


def _reversed(placed: Placed) -> list[str]:
    seen: set[Hashable] = set()
    places = []
    for place, record in placed:
        key = prompt_key(record.prompt), record.response.strip()
        if (*key, not record.desirable) in seen:
            places.append(place)
        seen.add((*key, record.desirable))
    return places


def _repeated(placed: Placed, key: Any) -> list[str]:
    seen: set[Hashable] = set()
    places = []
    for place, record in placed:
        if (found := key(record)) in seen:
            places.append(place)
        seen.add(found)
    return places


def _equal_responses(placed: Placed) -> list[str]:
    def is_equal(record: Ranking) -> bool:
        texts = [text.strip() for text in record.responses]
        if len(set(texts)) == len(texts):
            return False
        return any(texts[better] == texts[worse] for better, worse in record.pairs())

    return [place for place, record in placed if is_equal(record)]


def _contradictions(placed: Placed) -> list[str]:
    """Places of rankings that reverse a preference which the same labeler gave earlier."""
    seen: set[Hashable] = set()
    places = []
    for place, record in placed:
        about = (record.labeler_id, prompt_key(record.prompt))
        texts = [text.strip() for text in record.responses]
        pairs = {(about, texts[b], texts[w]) for b, w in record.pairs() if texts[b] != texts[w]}
        if any((about, worse, better) in seen for _, better, worse in pairs):
            places.append(place)
        seen |= pairs
    return places


def _blank_responses(placed: Placed) -> list[str]:
    return [place for place, record in placed if not all(map(str.strip, _responses(record)))]


def _blank_turns(placed: Placed) -> list[str]:
    return [
        place
        for place, record in placed
        if not isinstance(record, str)
        and any(t.role == "user" and not t.content.strip() for t in as_messages(record.prompt))
    ]


_LEAST_ECHO = 16
"""Characters of a prompt that no response begins with by chance."""


def _echoes(placed: Placed) -> list[str]:
    """The rows whose responses all begin with the whole prompt, as raw output of a model does."""

    def is_echo(record: Any) -> bool:
        if isinstance(record, str | Prompt):
            return False
        asked = as_messages(record.prompt)[-1].content.strip()
        return len(asked) >= _LEAST_ECHO and all(
            text.strip().startswith(asked) and text.strip() != asked for text in _responses(record)
        )

    return [place for place, record in placed if is_echo(record)]


def _control_characters(placed: Placed) -> list[str]:
    """The rows whose text contains control characters."""
    places, example = [], ""
    for place, record in placed:
        found = next(filter(_CONTROL.search, _texts(record)), None)
        if found is not None:
            places.append(place)
            example = example or visible(found)[:60]
    if not places:
        return []
    return [line(places, "rows have control characters") + f", shown escaped: {example}"]


def _several_speakers(placed: Placed) -> list[str]:
    """The rows with a text in which several turns, or a template's markup, were left."""
    places, example = [], ""
    for place, record in placed:
        if isinstance(record, str):  # text for pretraining may hold anything
            continue
        found = next(filter(None, map(_mark_of_a_turn, _texts(record))), None)
        if found is not None:
            places.append(place)
            example = example or found
    if not places:
        return []
    text = "rows have several speakers or a template's markup in one text"
    return [line(places, text) + f", such as {example!r}; write a list of turns"]


def _mark_of_a_turn(text: str) -> str | None:
    if written_turns(text):
        return text[:_SHOWN]
    found = _MARKUP.search(text) or (_REPLIES.search(text) if _ASKS.search(text) else None)
    return None if found is None else found[0].strip()


_SHOWN = 40
"""Characters of turns as JSON that a problem shows."""


def _texts(record: Any) -> list[str]:
    if isinstance(record, str):
        return [record]
    asked = record.prompt
    turns = [asked] if isinstance(asked, str) else [turn.content for turn in asked]
    return [*turns, *_responses(record)]


def _responses(record: Any) -> tuple[str, ...]:
    if isinstance(record, Ranking):
        return record.responses
    return () if isinstance(record, Prompt) else (record.response,)
