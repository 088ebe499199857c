"""Prompts from where they are: JSON Lines, Parquet, CSV, or a data set by name."""

import csv
from collections.abc import Iterator
from pathlib import Path

from understudy.records import Prompt, RecordError, iter_records


def read_prompts(source: str | Path) -> Iterator[Prompt]:
    """Prompts of a file or data set; RecordError names the place of a bad one.

    A CSV file has a column prompt and best id, user_id, organization_id, created_at, consent.
    """
    if str(source).endswith(".csv"):
        yield from _read_csv(Path(source))
    else:
        yield from iter_records(source, Prompt)


def _read_csv(path: Path) -> Iterator[Prompt]:
    if not path.is_file():
        raise RecordError(f"{path} does not exist; check the path")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        try:
            for row in rows:
                yield _prompt_of(row)
        except (RecordError, csv.Error, UnicodeDecodeError) as error:
            raise RecordError(f"{path} line {rows.line_num}: {error}") from None


def _prompt_of(row: dict[str, str]) -> Prompt:
    """An empty cell is a field left out; a cell cannot hold tags."""
    filled: dict[str, object] = {key: value for key, value in row.items() if key and value}
    filled.pop("tags", None)
    if "consent" in filled:
        filled["consent"] = _yes(str(filled["consent"]))
    return Prompt.from_json(filled)


def _yes(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in words:
        raise RecordError(f"field 'consent' is {text!r}; it must be true or false")
    return words[text.strip().lower()]
