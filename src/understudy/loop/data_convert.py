"""`understudy data convert`: writes a file of any known shape as records and reports the shapes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from understudy.records import Demonstration, Prompt, Ranking, RecordError, write_records
from understudy.records.convert import visible
from understudy.records.reading import Found, read_found

_KINDS: dict[str, Any] = {
    "demonstrations": Demonstration,
    "rankings": Ranking,
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
    kind: Literal["demonstrations", "rankings", "prompts"] | None = None
    """Kind of record to read the rows as; without it, their shape decides."""
    best: bool = False
    """Write the best response of each ranking as a demonstration; rankings whose best responses tie
    are dropped and counted."""
    skip_bad: bool = False
    """Leave out rows that cannot be read, instead of writing nothing."""
    overwrite: bool = False
    """Replace the file `out`."""

    def __post_init__(self) -> None:
        if self.best and self.kind not in (None, "rankings"):
            raise ValueError(f"--best takes rankings; leave out --kind {self.kind}")


def convert_data(config: ConvertConfig) -> str:
    """Write the records and report the shapes read. Nothing is written if a row is bad."""
    if config.out.exists() and not config.overwrite:
        raise ValueError(f"{config.out} exists; pass --overwrite or choose another --out")
    found = Found(lenient=config.skip_bad)
    kinds: Counter[str] = Counter()
    kind = None if config.kind is None else _KINDS[config.kind]
    placed = read_found(config.data, Ranking if config.best else kind, found)
    if config.best:
        placed = _best(placed, found)
    records = _only_one_kind(config.data, placed, kinds)
    write_records(config.out, records)
    lines = [
        f"{config.data}: {number:,} rows of {name}" for name, number in found.shapes.most_common()
    ]
    lines += found.lines()
    if found.ignored:
        keys = (f"{visible(key)} ({number:,})" for key, number in found.ignored.most_common())
        lines.append(f"ignored keys (rows): {', '.join(keys)}")
    if found.bad:
        lines += [f"skipped {problem}" for problem in found.bad[:_MOST_BAD_ROWS]]
        lines.append(f"{len(found.bad):,} bad rows skipped")
    made = ", ".join(f"{number:,} {name}s" for name, number in kinds.items())
    return "\n".join([*lines, f"{config.out}: {made}"])


def _best(placed: Iterator[tuple[str, Any]], found: Found) -> Iterator[tuple[str, Any]]:
    """Each ranking's best response as a demonstration by the same labeler."""
    for place, ranking in placed:
        if len(ranking.tiers[0]) > 1:
            found.left_out["the best responses tie"] += 1
            continue
        row = ranking.to_json()
        shared = {key: row[key] for key in ("prompt_id", "prompt", "labeler_id")}
        response = ranking.responses[ranking.tiers[0][0]]
        yield place, Demonstration.from_json({**shared, "response": response})


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
