"""Turns a file's rows of any shape into records, for every command that reads files.

Keys that change what a row means (`label`, `system`, `tools`, `weight` and the like) are applied or
refused here for all shapes. Other keys are ignored and counted.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from understudy.records.convert import Json, RecordError, hints_of, many, shortened, visible
from understudy.records.feedback import of_ranking
from understudy.records.files import iter_rows
from understudy.records.layouts import LABELS, LeftOut, is_desirable
from understudy.records.names import split_named
from understudy.records.schema import Demonstration, Feedback, Prompt, Ranking
from understudy.records.shapes import SHAPES, Shape, find_shape
from understudy.records.turns import THOUGHTS, blank, with_system

_SHAPED = (Demonstration, Ranking, Feedback, Prompt, str)
"""Kinds with several shapes."""
BY_HELD_OUT = "by held-out labelers, who only evaluate"
"""Why labels do not become demonstrations."""
UNKNOWN = "an unknown shape"
"""What `Found.shapes` calls rows of no known shape."""
KEYS_THAT_DO = (
    "Rename its keys to those of one, such as prompt and response for SFT, or prompt, chosen and "
    "rejected for a reward model"
)
"""What to do with rows of an unknown shape."""
_SYSTEM = ("system", "system_prompt", "system_message")
_ELSE = {Prompt: None, Feedback: Ranking}
"""Kinds as which rows of other kinds' shapes can be read: of any kind (None) or of one."""
_JOIN = "it is not part of the prompt; join the two, or call the prompt 'instruction'"
_REFUSED = {
    "tools": "tool use is not supported",
    "functions": "tool use is not supported",
    **dict.fromkeys(
        ("image", "images", "video", "videos", "audio", "audios"), "only text is supported"
    ),
    "history": "earlier turns belong in the prompt, as a list of turns",
    "input": _JOIN,
    "context": _JOIN,
    "opt_out": "say it as 'consent', with the opposite value",
}
"""Keys that would change a row's meaning, if its shape does not read them."""
_THOUGHTS = dict.fromkeys(THOUGHTS, "put it into the response if it is to be learned, or delete it")
"""The same of a demonstration; beside rankings, they may be those of a judge."""
_WITHIN = ("input", "context")
"""Those that do no harm if the prompt holds their text."""


@dataclass(slots=True)
class Found:
    """Findings about a file besides its records."""

    lenient: bool = False
    """Whether bad rows are collected in `bad` instead of raised."""
    shapes: Counter[str] = field(default_factory=Counter)
    """Rows by shape."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Rows by key that nothing reads."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Valid rows that are not for training, by reason."""
    between: int = 0
    """Responses that are neither the best nor the worst of a ranking read as feedback."""
    bad: list[str] = field(default_factory=list)
    """The error of each bad row, with its place."""
    notes: list[str] = field(default_factory=list)
    """Assumptions that the reader had to make."""

    @property
    def num_rows(self) -> int:
        """All rows, bad ones included."""
        return self.shapes.total()

    def lines(self) -> list[str]:
        """The notes, and how many rows were left out and why."""
        left = [f"{many(n, 'row')} left out: {reason}" for reason, n in self.left_out.items()]
        if self.between:
            left.append(f"{many(self.between, 'response')} left out: neither best nor worst")
        return [*self.notes, *left]


def read_found(path: Path | str, kind: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """(place, record) of each record of one kind, or of each row's own kind if that is None.

    RecordError names file and place of the first bad row, unless `found` is lenient. Unreadable
    bytes always raise.
    """
    held: dict[str, tuple[Shape, str, list[Json]]] = {}
    for place, row in iter_rows(path, found.notes.append):
        try:
            records = _records(row, kind, found, held, place)
        except RecordError as error:
            _refuse(found, f"{place}: {error}", path)
            continue
        for record in records:
            yield place, record
    for shape, place, rows in held.values():
        try:
            made = shape.convert({"rows": rows})
            other = next(
                (s for s in SHAPES if s.name == shape.name and s.kind is not shape.kind), None
            )
            if not made and kind is None and other is not None:
                shape, made = other, other.convert({"rows": rows})
            for item in made:
                if "responses" in item and len(item["responses"]) < 2:
                    found.left_out["the only response to its prompt"] += 1
                    continue
                for record in _made(kind or shape.kind, shape, item, found):
                    yield place, record
        except RecordError as error:
            _refuse(found, f"{place}: {error}", path)


def _refuse(found: Found, problem: str, path: Path | str) -> None:
    if not found.lenient:
        raise RecordError(visible(f"{path} {problem}")) from None
    found.bad.append(visible(problem))


def say(found: Found, path: Path | str) -> None:
    """Print on standard error which rows were left out, and the assumptions."""
    for line in found.lines():
        print(f"note: {line if line in found.notes else f'{path}: {line}'}", file=sys.stderr)


def _records(
    row: Any, kind: Any, found: Found, held: dict[str, tuple[Shape, str, list[Json]]], place: str
) -> list[Any]:
    """The records of a row; none if it is held back until all rows are read."""
    if kind is not None and kind not in _SHAPED:
        found.shapes[kind.noun] += 1
        return [kind.from_json(_tidy(row, kind) if isinstance(row, Mapping) else row)]
    if isinstance(row, str):  # a file of plain texts
        row = {"text": row} if kind is str else {"prompt": row}
    shape = find_shape(row, kind) or (find_shape(row, _ELSE[kind]) if kind in _ELSE else None)
    found.shapes[UNKNOWN if shape is None else shape.name] += 1
    if shape is None:
        raise RecordError(_unknown(row, kind))
    if kind is None and shape.kind is Prompt and (more := _responses_in(row, shape)):
        raise RecordError(
            f"this is a prompt with {', '.join(more)}, which no known shape reads (docs/records.md "
            "lists them); rename the keys, or read the prompts alone with --kind prompts"
        )
    found.ignored.update(_ignored(row, shape, kind or shape.kind))
    if (kind or shape.kind) is Demonstration and row.get("labeler_role") == "held_out":
        # A demonstration has no role, so a trainer would learn from it.
        found.left_out[BY_HELD_OUT] += 1
        return []
    try:
        if shape.whole:
            part = _part(dict(row), shape)
            held.setdefault(shape.name, (shape, place, []))[2].append(part)
            return []
        made = rows_of(dict(row), shape)
    except LeftOut as reason:
        found.left_out[str(reason)] += 1
        return []
    if not made:
        found.left_out[f"without a {shape.kind.noun}"] += 1
    return [one for item in made for one in _made(kind or shape.kind, shape, item, found)]


def _made(kind: Any, shape: Shape, row: Json, found: Found) -> list[Any]:
    """The records of one kind that a converted row becomes."""
    if not (kind is Feedback and shape.kind is Ranking):
        return [_record(kind, row)]
    ranking = _record(Ranking, row)
    feedback = of_ranking(ranking)
    if feedback:
        found.between += len(ranking.responses) - len(feedback)
    else:
        found.left_out["all responses tie"] += 1
    return feedback


def _record(kind: Any, row: Json) -> Any:
    if kind is not str:
        return kind.from_json(_tidy(row, kind))
    if not isinstance(row["text"], str):
        raise RecordError(f"field 'text' is {shortened(row['text'])}; it must be text")
    return row["text"]


def rows_of(row: Json, shape: Shape) -> list[Json]:
    """The rows of records that a row of this shape becomes; LeftOut if it is not for training.

    RecordError if a key that its shape does not read would change its meaning.
    """
    if shape.kind is str:
        return shape.convert(row)
    _check_keys(row, shape)
    made = shape.convert(row)
    for key in _SYSTEM:
        if not blank(row.get(key)):
            made = [item | {"prompt": with_system(item["prompt"], row[key], key)} for item in made]
    return made


def _part(row: Json, shape: Shape) -> Json:
    """A row of a shape that joins several rows: checked, and with its system turn."""
    _check_keys(row, shape)
    shape.check(row)
    for key in _SYSTEM:
        if not blank(row.get(key)):
            if "prompt" not in row:
                raise RecordError(f"field '{key}' is {shortened(row[key])}: {shape.name} have none")
            row = row | {"prompt": with_system(row["prompt"], row[key], key)}
    return row


def _check_keys(row: Json, shape: Shape) -> None:
    """Refuse keys that would change the row's meaning; LeftOut if it is not for training."""
    refused = _REFUSED | (_THOUGHTS if shape.kind is Demonstration else {})
    for key, why in refused.items():
        known = key in shape.keys | shape.reads
        if known or blank(row.get(key)) or (key in _WITHIN and _is_within(row, key)):
            continue
        raise RecordError(f"field '{key}' is {shortened(row[key])}: {why}")
    if not blank(row.get("weight")) and "weight" not in shape.reads:
        if row["weight"] not in (0, 1):
            raise RecordError(f"field 'weight' is {shortened(row['weight'])}; it must be 0 or 1")
        if not row["weight"]:
            raise LeftOut("weight 0")
    for key in row:
        name = _SPELT.get(re.sub(r"[\s_-]", "", str(key)).lower())
        if name is not None and name not in row and not blank(row[key]):
            raise RecordError(f"field '{key}' is not read; call it '{name}'")
    _check_label(row, shape)


_SPELT = {
    name.replace("_", ""): name
    for name in ("consent", "user_id", "organization_id", "labeler_id", "labeler_role")
}
"""Keys that must not be ignored where they are spelt another way, such as userId."""
_RESPONSES = re.compile(
    r"(response|answer|completion|generation|output|chosen|rejected|candidate)s?([_\d]|$)|winner"
)
"""Names of keys that hold responses, or say which is better."""


def _responses_in(row: Mapping[str, Any], shape: Shape) -> list[str]:
    """Keys beside a prompt that would make it more than a prompt."""
    keys = [str(key) for key, value in row.items() if not blank(value)]
    return [key for key in keys if _RESPONSES.match(key) and key not in shape.keys | shape.reads]


def _is_within(row: Json, key: str) -> bool:
    asked = row.get("prompt", row.get("question"))
    return asked is None or str(row[key]).strip() in str(asked)


def _check_label(row: Json, shape: Shape) -> None:
    """Apply a label, which says whether a demonstration is good (KTO); LeftOut if it is not."""
    keys = [key for key in LABELS if key not in shape.keys and not blank(row.get(key))]
    if not keys or shape.kind in (Prompt, Feedback):
        return
    if shape.kind is not Demonstration:
        raise RecordError(
            f"field '{keys[0]}' is {shortened(row[keys[0]])}, but the row already says which "
            "response is better; delete or rename it"
        )
    if not is_desirable(row):
        raise LeftOut(f"{keys[0]} is false: a response that must not be learned")


def _ignored(row: Json, shape: Shape, kind: Any) -> list[str]:
    used = {*shape.keys, *shape.reads, *_SYSTEM, *_REFUSED, "weight"}
    if kind is not str:
        used |= set(hints_of(kind))
    if kind not in (Prompt, str):
        used |= {*LABELS}
    ignored = [str(key) for key, value in row.items() if key not in used and value is not None]
    split = row.get("split")
    if split is not None and "split" in used and _split(split) is None:
        ignored.append(f"split {shortened(split)}")
    if "source" in used and not isinstance(row.get("source"), str | None):
        ignored.append("source")
    return ignored


def _split(value: Any) -> str | None:
    return split_named(value) if isinstance(value, str) else None


def _tidy(row: Mapping[str, Any], kind: Any) -> Mapping[str, Any]:
    """Other conventions for splits and tags, converted to ours; drops unknown names of splits and
    sources."""
    if row.get("split") is not None and "split" in hints_of(kind):
        row = {**row, "split": _split(row["split"])}
    if "tags" in hints_of(kind) and not isinstance(row.get("tags"), Mapping | None):
        row = {**row, "tags": {"tags": row["tags"]}}
    if "source" in hints_of(kind) and not isinstance(row.get("source"), str | None):
        row = {key: value for key, value in row.items() if key != "source"}
    return row


def _unknown(row: Any, kind: Any) -> str:
    """An error message: the row's keys, the nearest shape, and what the kind needs."""
    needs = "" if kind in (None, str) else f"; each {kind.noun} needs {kind.needs}"
    if not isinstance(row, Mapping):
        return f"this is {shortened(row)}, not an object{needs}"
    if not row:
        return f"this object has no keys{needs}"
    has = f"the keys are {', '.join(map(str, row))}"
    other = find_shape(row)
    if other is None and kind is None:
        needs = "; docs/records.md lists the known shapes"
    if other is None or other.kind is kind:
        return f"{_missing(row, kind)}{has}{needs}"
    is_one = "plain text" if other.kind is str else f"a {other.kind.noun}"
    return f"{_missing(row, kind)}this is {is_one} ({other.name}); {has}{needs}"


def _missing(row: Mapping[str, Any], kind: Any) -> str:
    """What the nearest shape needs besides the present keys."""
    keys = [str(key) for key in row]
    shapes = [shape for shape in SHAPES if kind is None or shape.kind is kind]
    shapes = [shape for shape in shapes if any(blank(row.get(name)) for name in shape.keys)]
    nearest = max(shapes, key=lambda shape: _likeness(shape, keys))
    missing = sorted(name for name in nearest.keys if blank(row.get(name)))
    if _likeness(nearest, keys) < 0.5:
        return ""
    if missing[0] in row:
        return f"field '{missing[0]}' is empty; "
    likely = max(keys, key=lambda key: _alike(key, missing[0]))
    rename = f" (is it {likely!r}?)" if _alike(likely, missing[0]) > 0.6 else ""
    return f"field '{missing[0]}' is missing for the nearest shape, {nearest.name}{rename}; "


def _likeness(shape: Shape, keys: list[str]) -> float:
    """Mean likeness of a shape's keys to those of a row; each of these matches at most one."""
    pairs = sorted(
        ((_alike(key, name), key, name) for key in keys for name in shape.keys), reverse=True
    )
    found: dict[str, float] = {}
    used: set[str] = set()
    for alike, key, name in pairs:
        if alike > 0.6 and key not in used and name not in found:
            found[name] = alike
            used.add(key)
    return sum(found.values()) / len(shape.keys)


def _alike(first: str, second: str) -> float:
    return SequenceMatcher(None, first.lower(), second).ratio()
