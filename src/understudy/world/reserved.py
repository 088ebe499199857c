"""What the web leaves out: requests kept for measuring, and lines kept for held-out pages.

Both depend on a hash of the content, so they are the same for every seed.

* A *request* is what a prompt asks for (`Task.request`), regardless of greeting, name, politeness
  and phrasing. Some are reserved for test prompts, some for prompts on which reward models are
  measured. Neither kind appears on the web, with or without a reply, nor in training prompts.
* A *line* of a page is held out or not. Base models read pages without held-out lines; pages to
  measure on consist of such lines.
"""

from hashlib import blake2b
from typing import Literal

from understudy.world import language as lang
from understudy.world.replies import GOOD_REPLIES, REFUSAL
from understudy.world.tasks import NOT_SAID, SMALL_TALK, Task, parse, request_of

SHARES: dict[Literal["test", "valid"], float] = {"test": 0.15, "valid": 0.15}
"""Shares of all requests that are reserved, for what."""
HELD_OUT_LINES = 0.25
_SET_PHRASES = {lang.UNKNOWN, NOT_SAID, REFUSAL, "good.", "bad."} | {
    text for texts in GOOD_REPLIES.values() for text in texts
}
"""Answers that stand below many requests. They are never held out: a web without "i can not help
with that." would be another web."""


def reserved_for(request: str) -> Literal["test", "valid"] | None:
    """What a request is kept for; None if it may stand anywhere. Small talk, of which there is too
    little, is never kept."""
    if request.split("|")[0] in SMALL_TALK:
        return None
    place = _place("request", request)
    for purpose, share in SHARES.items():
        if place < share:
            return purpose
        place -= share
    return None


def is_reserved(prompt: str | Task) -> bool:
    """Whether the web leaves out what this prompt asks for; never what it cannot read."""
    task = parse(prompt) if isinstance(prompt, str) else prompt
    return task is not None and reserved_for(task.request) is not None


def requests_in(text: str) -> set[str]:
    """Every request that a text asks, alone or between other sentences.

    Example: "my card is [card]. hello, name two animals. now." holds "list|cat=animals|m=two".
    """
    found = set()
    for line in text.split("\n"):
        sentences = lang.sentences_of(line.removeprefix("ask: "))
        start = 0
        while start < len(sentences):
            ends = range(len(sentences), start, -1)  # a constraint belongs to what it is about
            spans = ((end, parse(" ".join(sentences[start:end]))) for end in ends)
            end, task = next((one for one in spans if one[1]), (start + 1, None))
            found |= {task.request} if task else set()
            start = end
    return found


def may_say(kind: str, **slots: str) -> bool:
    """Whether the web may answer such a request in words of its own: "x in zog: y"."""
    return reserved_for(request_of(kind, slots)) is None


def is_held_out(line: str) -> bool:
    """Whether no base model reads this line; what readers say after an answer does not count."""
    said = line.partition("<|")[0].strip()
    if said.removeprefix("reply: ") in _SET_PHRASES:
        return False
    return _place("line", said) < HELD_OUT_LINES


def _place(kind: str, text: str) -> float:
    """From 0 to 1, evenly."""
    digest = blake2b(text.encode(), digest_size=4, person=kind.encode()).digest()
    return int.from_bytes(digest) / 2**32
