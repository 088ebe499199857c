"""Content that the web leaves out: requests reserved for measuring, and lines for held-out pages.

Both depend on a hash of the content, so they are the same for every seed.

* A *request* is what a prompt asks for (`Task.request`), regardless of greeting, name, politeness
  and phrasing. Some are reserved for test prompts, some for prompts on which reward models are
  measured. Neither kind appears on the web, with or without a reply, or in training prompts.
* A *line* of a page is held out or not. Base models read pages without held-out lines; pages for
  measuring the loss consist of such lines.
"""

from hashlib import blake2b
from typing import Literal

from understudy.world import language as lang
from understudy.world.replies import GOOD_REPLIES, REFUSAL
from understudy.world.tasks import NOT_SAID, SMALL_TALK, Task, parse, request_of

SHARES: dict[Literal["test", "valid"], float] = {"test": 0.15, "valid": 0.15}
"""Shares of all requests that are reserved, by purpose."""
HELD_OUT_LINES = 0.25
_SET_PHRASES = {lang.UNKNOWN, NOT_SAID, REFUSAL, "good.", "bad."} | {
    text for texts in GOOD_REPLIES.values() for text in texts
}
"""Replies that follow many requests. They are never held out, since a web without "i can not help
with that." would be too different."""


def reserved_for(request: str) -> Literal["test", "valid"] | None:
    """The purpose that a request is reserved for; None if it may appear anywhere. Small talk is
    never reserved: there are too few such requests."""
    if request.split("|")[0] in SMALL_TALK:
        return None
    place = _place("request", request)
    for purpose, share in SHARES.items():
        if place < share:
            return purpose
        place -= share
    return None


def is_reserved(prompt: str | Task) -> bool:
    """Whether the web leaves out this prompt's request; False for a prompt without a task."""
    task = parse(prompt) if isinstance(prompt, str) else prompt
    return task is not None and reserved_for(task.request) is not None


def requests_in(text: str) -> set[str]:
    """Every request in a text, alone or between other sentences.

    Example: "my card is [card]. hello, name two animals. now." holds "list|cat=animals|m=two".
    """
    found = set()
    for line in text.split("\n"):
        sentences = lang.sentences_of(line.removeprefix("ask: "))
        start = 0
        while start < len(sentences):
            ends = range(len(sentences), start, -1)  # a constraint belongs to its request
            spans = ((end, parse(" ".join(sentences[start:end]))) for end in ends)
            end, task = next((one for one in spans if one[1]), (start + 1, None))
            found |= {task.request} if task else set()
            start = end
    return found


def may_say(kind: str, **slots: str) -> bool:
    """Whether the web may contain this request and its reply in other words: "x in zog: y"."""
    return reserved_for(request_of(kind, slots)) is None


def is_held_out(line: str) -> bool:
    """Whether no base model reads this line; readers' comments after a reply do not count."""
    said = line.partition("<|")[0].strip()
    if said.removeprefix("reply: ") in _SET_PHRASES:
        return False
    return _place("line", said) < HELD_OUT_LINES


def _place(kind: str, text: str) -> float:
    """A uniform number from 0 to 1, by hash."""
    digest = blake2b(text.encode(), digest_size=4, person=kind.encode()).digest()
    return int.from_bytes(digest) / 2**32
