"""Records as CSV for spreadsheets, in which no cell is read as a formula.

Every cell is quoted, and a text that a spreadsheet would evaluate (CSV injection: `=1+1`,
`@SUM(...)`) gets a leading apostrophe. This is lossy: a text that began with an apostrophe looks
the same. Use CSV for viewing; trainers read JSON Lines.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""Characters with which a formula may begin, also in full width, and the white space before it that
spreadsheets skip."""
BOM = "\ufeff"
"""The mark by which Excel recognises UTF-8."""


def csv_lines(kind: Any, records: Iterable[Any]) -> Iterator[bytes]:
    """A header with the record's fields, then a row per record; values other than text are JSON."""
    names = [field.name for field in fields(kind)]
    yield (BOM + _line(names)).encode()
    for record in records:
        row = record.to_json()
        yield _line(cell(row.get(name)) for name in names).encode()


def cell(value: Any) -> str:
    """A value as a cell: `cell("=1+1")` is `'=1+1`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"'{value}" if value.startswith(FORMULA) else value


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue()
