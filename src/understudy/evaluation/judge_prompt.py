"""The question to a model that judges two responses, and how its reply is read.

The template is a text file with the placeholders {prompt}, {first} and {second};
`judge_template.txt` beside this file is the default. The reply must end with a line `Verdict: A`,
`Verdict: B` or `Verdict: tie`. Any other reply is counted as unreadable; no verdict is guessed.
"""

import re
from importlib.resources import files
from pathlib import Path
from typing import Literal

from understudy.records import Conversation, prompt_text

Verdict = Literal["first", "second", "tie"]
PLACES = ("{prompt}", "{first}", "{second}")
DEFAULT = files("understudy.evaluation") / "judge_template.txt"
_PLACE = re.compile("|".join(map(re.escape, PLACES)))
_LINE = re.compile(r"verdict\s*:\s*(?:response )?(a|b|tie)", re.IGNORECASE)
_MARKS = str.maketrans("", "", "*_`#[]()\"'")
_NAMES: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}


def read_template(path: Path | None) -> str:
    """The template in a file, or the default; ValueError if it cannot lead to a verdict."""
    if path is None:
        return DEFAULT.read_text(encoding="utf-8")
    if not path.is_file():
        raise ValueError(f"template {path} does not exist; docs/judge.md shows the default to copy")
    text = path.read_text(encoding="utf-8")
    for place in PLACES:
        if text.count(place) != 1:
            raise ValueError(
                f"template {path} has {place} {text.count(place)} times; it must have each of "
                f"{', '.join(PLACES)} once"
            )
    if "Verdict:" not in text:
        raise ValueError(
            f"template {path} does not ask for a last line 'Verdict: A', 'Verdict: B' or "
            "'Verdict: tie', and no other reply can be read"
        )
    return text


def asked(template: str, prompt: Conversation, first: str, second: str) -> str:
    """The question about two responses in this order. Placeholders within the texts stay as they
    are.

    >>> asked("{prompt}? A {first} B {second}", "Prime", "{second}", "9")
    'Prime? A {second} B 9'
    """
    texts = dict(zip(PLACES, (prompt_text(prompt), first, second), strict=True))
    return _PLACE.sub(lambda place: texts[place[0]], template)


def verdict_of(reply: str) -> Verdict | None:
    """The verdict on the last line, which may be marked up or end with a full stop; None if
    unreadable.

    >>> verdict_of("B names a prime.\\n**Verdict:** [B]."), verdict_of("Verdict: A or B")
    ('second', None)
    """
    lines = reply.strip().splitlines()
    found = _LINE.fullmatch(lines[-1].translate(_MARKS).strip(" \t.")) if lines else None
    return _NAMES[found[1].lower()] if found else None
