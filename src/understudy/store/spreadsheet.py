"""Records as spreadsheets read them: CSV in which no cell is taken for a formula.

Every cell is quoted, and a text that a spreadsheet would calculate (CSV injection: `=1+1`,
`@SUM(...)`) gets an apostrophe in front. That loses something: a text that began with an apostrophe
looks the same. So CSV is for looking at, and JSON Lines is what trainers read.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula may begin with, also in full width, and white space that is skipped before one."""
BOM = "\ufeff"
"""By which Excel knows UTF-8."""


def csv_lines(kind: Any, records: Iterable[Any]) -> Iterator[bytes]:
    """A header with the record's fields, then a row per record; what is no text is JSON."""
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
