"""`understudy data convert`: writes a file of any known shape as records and reports the shapes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from understudy.records import (
    Demonstration,
    Feedback,
    Prompt,
    Ranking,
    Rating,
    RecordError,
    Response,
    read_records,
    write_records,
)
from understudy.records.convert import many, visible
from understudy.records.feedback import of_rating
from understudy.records.reading import BY_HELD_OUT, KEYS_THAT_DO, UNKNOWN, Found, read_found

_KINDS: dict[str, Any] = {
    "demonstrations": Demonstration,
    "rankings": Ranking,
    "feedback": Feedback,
    "prompts": Prompt,
}
_MOST_BAD_ROWS = 5
"""Bad rows that are listed; the rest are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig:
    """Write a file of any known shape as records, which every command reads."""

    data: Positional[Path]
    """A file or folder of rows (docs/records.md), or a data set: ORG/NAME@CONFIG#SPLIT."""
    out: Path
    """The records, .jsonl or .parquet."""
    kind: Literal["demonstrations", "rankings", "feedback", "prompts"] | None = None
    """Kind of record to read the rows as; without it, their shape decides."""
    best: bool = False
    """Write the best response of each ranking as a demonstration; rankings whose best responses tie
    are dropped and counted."""
    responses: Path | None = None
    """The rated responses, if `data` is a file of ratings; writes feedback."""
    desirable_from: int | None = None
    """Lowest Likert rating (1 to 7) that makes a response desirable; only with `responses`, where
    none means 5."""
    skip_bad: bool = False
    """Leave out rows that cannot be read, instead of writing nothing."""
    overwrite: bool = False
    """Replace the file `out`."""

    def __post_init__(self) -> None:
        if self.best and self.kind not in (None, "rankings"):
            raise ValueError(f"--best takes rankings; leave out --kind {self.kind}")
        if self.responses is not None and (self.best or self.kind not in (None, "feedback")):
            raise ValueError("--responses turns ratings into feedback; leave out --best and --kind")
        if self.desirable_from is not None and not 2 <= self.desirable_from <= 7:
            raise ValueError(
                f"desirable_from is {self.desirable_from}; it must be 2 to 7, so that a rating can "
                "be below it"
            )
        if self.desirable_from is not None and self.responses is None:
            raise ValueError("desirable_from needs responses, the file that the ratings are about")


def convert_data(config: ConvertConfig) -> str:
    """Write the records and report the shapes read. A bad row prevents writing, unless `skip_bad`
    is set."""
    if config.out.exists() and not config.overwrite:
        raise ValueError(f"{config.out} exists; pass --overwrite or choose another --out")
    found = Found(lenient=config.skip_bad)
    kinds: Counter[str] = Counter()
    kind = None if config.kind is None else _KINDS[config.kind]
    if config.best:
        placed = _best(read_found(config.data, Ranking, found), found)
    elif config.responses is not None:
        placed = _rated(config, read_found(config.data, Rating, found))
    else:
        placed = read_found(config.data, kind, found)
    records = _only_one_kind(config.data, placed, kinds)
    try:
        write_records(config.out, records)
    except RecordError as error:
        if set(found.shapes) != {UNKNOWN}:
            raise
        raise RecordError(f"{error}. {KEYS_THAT_DO}") from None
    lines = [
        f"{config.data}: {many(number, 'row')} of {name}"
        for name, number in found.shapes.most_common()
    ]
    lines += found.lines()
    if found.ignored:
        keys = (f"{visible(key)} ({number:,})" for key, number in found.ignored.most_common())
        lines.append(f"ignored keys (rows): {', '.join(keys)}")
    if found.bad:
        lines += [f"skipped {problem}" for problem in found.bad[:_MOST_BAD_ROWS]]
        lines.append(f"{many(len(found.bad), 'bad row')} skipped")
    made = ", ".join(many(number, name) for name, number in kinds.items())
    return "\n".join([*lines, f"{config.out}: {made}"])


def _best(placed: Iterator[tuple[str, Any]], found: Found) -> Iterator[tuple[str, Any]]:
    """Each ranking's best response as a demonstration by the same labeler."""
    for place, ranking in placed:
        if ranking.labeler_role == "held_out":
            found.left_out[BY_HELD_OUT] += 1
            continue
        if len(ranking.tiers[0]) > 1:
            found.left_out["the best responses tie"] += 1
            continue
        row = ranking.to_json()
        shared = {key: row[key] for key in ("prompt_id", "prompt", "labeler_id")}
        response = ranking.responses[ranking.tiers[0][0]]
        yield place, Demonstration.from_json({**shared, "response": response})


def _rated(config: ConvertConfig, placed: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The rated responses as feedback."""
    assert config.responses is not None
    responses = {one.id: one for one in read_records(config.responses, Response)}
    for place, rating in placed:
        if rating.response_id not in responses:
            raise RecordError(
                f"{config.data} {place}: response {visible(rating.response_id)} is not in "
                f"{config.responses}"
            )
        yield place, of_rating(rating, responses[rating.response_id], config.desirable_from or 5)


def _only_one_kind(
    source: Path, placed: Iterator[tuple[str, Any]], kinds: Counter[str]
) -> Iterator[Any]:
    for place, record in placed:
        if isinstance(record, str):
            raise RecordError(f"{source} {place}: plain text needs no conversion")
        kinds[record.noun] += 1
        if len(kinds) > 1:
            first, other = kinds
            raise RecordError(
                f"{source} {place}: this is a {other}, and the rows before it were {first}s; "
                "choose one with --kind"
            )
        yield record
    if not kinds:
        raise RecordError(f"{source} has nothing to write")
