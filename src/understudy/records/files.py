"""Reads the raw rows of a file or a folder of files.

Formats by suffix: JSON Lines, JSON (an array of rows, or one row), Parquet, CSV and plain text,
each optionally compressed (.gz, .bz2, .xz, .zst). A folder's files are read in name order.
`iter_rows` streams; only a JSON array is read as a whole.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast

from understudy.records.convert import RecordError, shortened, visible
from understudy.records.hub import is_dataset, read_dataset
from understudy.records.names import COMPRESSED, SUFFIXES, base_suffix, compression, shards
from understudy.records.turns import written_turns

Rows = Iterator[tuple[str, Any]]
Note = Callable[[str], None]
JSON_COLUMNS = b"understudy.json_columns"
"""Key of a Parquet file's metadata that lists the columns with JSON text."""
_CELLS_OF_JSON = frozenset(
    "messages conversations conversation responses completions generations answers tiers ranks "
    "scores ratings margin score_chosen score_rejected score_0 score_1 helpfulness rank weight "
    "overall_preference annotator1 annotator2 annotator3 label kto_tag desirable thumbs_up thumbs "
    "thumb tags likert flags temperature seed finished logprob history tools turns "
    "instances".split()
)
"""CSV columns whose cells are read as JSON where they are valid JSON; all others are text."""
_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: _object(pairs))
_DELIMITERS = ",;\t|"
_CHUNK = 1 << 20


def iter_rows(path: Path | str, note: Note = lambda text: None) -> Rows:
    """(place, row) of each row, such as ("line 7", {...}).

    `note` gets the assumptions that the reader had to make. RecordError names the place that cannot
    be read.
    """
    files, left_out = shards(path)
    if files is None and is_dataset(path):
        return ((place, _plain(row)) for place, row in read_dataset(path))
    if left_out:
        note(f"{path}: not read: {', '.join(left_out)}")
    return _rows_of_files(files or [Path(path)], note, named=files is not None)


def _rows_of_files(files: list[Path], note: Note, named: bool) -> Rows:
    for path in files:
        for place, row in _rows_of(path, note):
            yield f"{path.name} {place}" if named else place, row


def _rows_of(path: Path, note: Note) -> Rows:
    if not path.is_file():
        raise RecordError(f"{path} does not exist; check the path")
    suffix = base_suffix(path)
    if suffix not in SUFFIXES:
        raise RecordError(
            f"{path} must be JSON Lines (.jsonl), JSON, Parquet, CSV or plain text: "
            f"{', '.join(SUFFIXES)}, plain or compressed as {', '.join(COMPRESSED)}"
        )
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix in (".csv", ".tsv"):
        return _read_csv(path, suffix, note)
    return _read_text(path) if suffix == ".txt" else _read_json(path, suffix, note)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file; RecordError if they are damaged."""
    try:
        with _open(path) as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise RecordError(f"{path} is damaged: {error}") from None
    except OSError as error:
        if error.errno is not None or not compression(path):
            raise
        raise RecordError(f"{path} is damaged: {error}") from None


def _open(path: Path) -> IO[bytes]:
    suffix = compression(path)
    if suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(cast(Any, pa.input_stream(str(path), compression="zstd")), _CHUNK)
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix, open)
    return cast(IO[bytes], opener(path, "rb"))


# JSON and text


def _read_json(path: Path, suffix: str, note: Note) -> Rows:
    """Objects line by line; or, if the first line is not a complete object, one JSON value."""
    with _opened(path) as stream:
        lines = _decoded_lines(path, stream)
        filled = ((number, line) for number, line in lines if line.strip())
        first = next(filled, None)
        if first is None:
            return
        number, line = first
        if line.lstrip().startswith("[") or (suffix == ".json" and not _is_a_row(line)):
            text = "\n" * (number - 1) + line + "".join(rest for _, rest in lines)
            yield from _whole_json(path, text, note)
            return
        yield f"line {number}", _loads(path, number, line)
        for number, line in filled:
            yield f"line {number}", _loads(path, number, line)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"one object has the key {shortened(doubled)} twice")
    return row


def _is_a_row(line: str) -> bool:
    try:
        return _table_in(json.loads(line)) is None
    except (ValueError, RecursionError):
        return False


def _whole_json(path: Path, text: str, note: Note) -> Rows:
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{path} line {error.lineno}: not valid JSON ({error.msg} at column {error.colno}); "
            "the file must hold one JSON array of objects, or one object on each line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not valid JSON ({error})") from None
    if name := _table_in(found):
        others = ", ".join(visible(key) for key in found if key != name)
        note(f"{path}: read the rows under '{name}'" + (f", not {others}" if others else ""))
        found = found[name]
    if not isinstance(found, list):
        yield "row 1", found
        return
    for number, row in enumerate(found, start=1):
        yield f"row {number}", row


_WRAPPERS = {"data", "rows", "records", "examples", "items", "train"}
"""Keys of a JSON object under which a file's rows may be."""


def _table_in(found: Any) -> str | None:
    """The one such key of an object that has a list of objects."""
    if not isinstance(found, dict):
        return None
    names = [
        name
        for name in _WRAPPERS & found.keys()
        if isinstance(found[name], list) and all(isinstance(row, dict) for row in found[name])
    ]
    return names[0] if len(names) == 1 else None


def _loads(path: Path, number: int, line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError as error:
        if "\0" in line:
            raise RecordError(f"{path} line {number}: {_NO_MARK}") from None
        raise RecordError(
            f"{path} line {number}: not valid JSON ({error.msg} at column {error.colno}); "
            "each line must be one JSON object"
        ) from None
    except (ValueError, RecursionError) as error:  # an absurdly long number or deep nesting
        raise RecordError(f"{path} line {number}: not valid JSON ({error})") from None


def _read_text(path: Path) -> Rows:
    """Documents with a blank line between them, as rows of plain text."""
    with _opened(path) as stream:
        start, held = 1, ""
        for number, line in _decoded_lines(path, stream):
            line = line.replace("\r\n", "\n")
            if line.strip("\n"):
                start = start if held else number
                held += line
            elif held:
                yield f"line {start}", {"text": held.strip()}
                held = ""
        if held.strip():
            yield f"line {start}", {"text": held.strip()}


def _decoded_lines(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """(number, line) of UTF-8 text, or of UTF-16 or UTF-32 with a byte order mark."""
    head = cast(Any, stream).peek(4)[:4]
    encoding = _marked_encoding(head)
    if encoding is None or encoding == "utf-8-sig":
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise RecordError(f"{path} line {number}: {_what_else(head, error)}") from None
            yield number, text
        return
    try:
        with io.TextIOWrapper(cast(Any, stream), encoding, newline="\n") as text_stream:
            yield from enumerate(text_stream, start=1)
    except UnicodeError as error:
        raise RecordError(
            f"{path}: not {encoding}, as its byte order mark says ({error})"
        ) from None


_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zX": "xz",
    b"(\xb5/\xfd": "Zstandard",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
}
"""How files of other formats begin."""


_NO_MARK = "UTF-16 text without a byte order mark; save the file as UTF-8"


def _what_else(head: bytes, error: UnicodeDecodeError) -> str:
    """What a file is, going by its first bytes, if it is not UTF-8 text; and the way out."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return f"not text but {name}; give the file the suffix of its format, or unpack it"
    return _NO_MARK if b"\0" in head else f"not UTF-8 text ({error.reason}); save the file as UTF-8"


def _marked_encoding(head: bytes) -> str | None:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    return None


# CSV


def _read_csv(path: Path, suffix: str, note: Note) -> Rows:
    """Rows keyed by the names in the first line; an empty or missing cell is None."""
    encoding = _csv_encoding(path, note)
    with (
        _opened(path) as stream,
        io.TextIOWrapper(cast(Any, stream), encoding, newline="") as lines,
    ):
        csv.field_size_limit(2**31 - 1)
        reader, start = None, 1
        try:
            first = lines.readline()
            while first and not first.strip():
                first, start = lines.readline(), start + 1
            if marked := re.fullmatch(r"sep=(.)\s*", first):  # Excel's own
                first, start = lines.readline(), start + 1
            delimiter = marked[1] if marked else _delimiter(first, suffix)
            text = _chained(first, lines)
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            header = _header(path, next(reader, []))
            while True:
                number = start + reader.line_num
                cells = next(reader, None)
                if cells is None:
                    return
                if any(cell.strip() for cell in cells):
                    yield f"line {number}", _cells(path, number, header, cells, delimiter)
        except csv.Error as error:
            number = start + (reader.line_num if reader else 1) - 1
            raise RecordError(
                f"{path} line {number}: {error}; a cell that contains a quote, a line end or the "
                'delimiter needs quotes around it, and "" for a quote'
            ) from None
        except UnicodeError as error:
            raise RecordError(f"{path}: not {encoding} text ({error}); save it as UTF-8") from None


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv_encoding(path: Path, note: Note) -> str:
    """The encoding of the byte order mark, else UTF-8, else a guess, which `note` reports."""
    with _opened(path) as stream:
        head = cast(Any, stream).peek(4)[:4]
        marked = _marked_encoding(head)
        if marked is not None:
            return marked
        decoder = codecs.getincrementaldecoder("utf-8")()
        sample = b""
        try:
            while chunk := stream.read(_CHUNK):
                sample = chunk
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
            return "utf-8"
        except UnicodeDecodeError:
            pass
    encoding = _guessed_encoding(sample)
    example = re.search(rb"[^\n]*[\x80-\xff][^\n]*", sample)
    shown = example[0].decode(encoding, "replace").strip()[:60] if example else ""
    note(
        f"{path} is not UTF-8 and was read as {encoding}, with lines like {visible(shown)!r}; if "
        "that is wrong, save it as UTF-8"
    )
    return encoding


def _guessed_encoding(sample: bytes) -> str:
    """Western European if most letters are unaccented Latin ones, as in French; else the
    likeliest."""
    letters = len(re.findall(rb"[A-Za-z]", sample))
    others = len(re.findall(rb"[\x80-\xff]", sample))
    undefined = re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample)
    if others <= 0.4 * letters and undefined is None:
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return "latin-1" if best is None else best.encoding


def _delimiter(line: str, suffix: str) -> str:
    """The delimiter that occurs most often in the first line, outside quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    usual = "\t" if suffix == ".tsv" else ","
    counts = {delimiter: bare.count(delimiter) for delimiter in _DELIMITERS}
    best = max(counts, key=lambda delimiter: (counts[delimiter], delimiter == usual))
    return best if counts[best] else usual


def _header(path: Path, names: list[str]) -> list[str]:
    """The columns' names as the records write them: "User ID" becomes user_id."""
    header = [re.sub(r"[\s-]+", "_", name.strip()).lower() for name in names]
    header = [name or f"unnamed column {place}" for place, name in enumerate(header, start=1)]
    _check_columns(path, header)
    return header


def _check_columns(path: Path, names: list[str]) -> None:
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise RecordError(f"{path}: two columns are called {doubled!r}; rename one")


def _cells(
    path: Path, number: int, header: list[str], cells: list[str], delimiter: str
) -> dict[str, Any]:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise RecordError(
            f"{path} line {number}: {len(cells)} cells under {len(header)} column names; the first "
            f"extra one is {shortened(cells[len(header)])}; put quotes around a cell that contains "
            f"{delimiter!r}"
        )
    row: dict[str, Any] = {}
    for place, name in enumerate(header):
        cell = cells[place] if place < len(cells) else ""
        row[name] = _cell(name, cell) if cell.strip() else None
    return row


def _cell(name: str, cell: str) -> Any:
    if name not in _CELLS_OF_JSON and not (name == "prompt" and written_turns(cell)):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


# Parquet


def _read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(path)
        metadata = file.schema_arrow.metadata or {}
        json_columns = json.loads(metadata.get(JSON_COLUMNS, b"[]"))
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches():
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                for name in json_columns:
                    row[name] = None if row[name] is None else json.loads(row[name])
                yield f"row {number}", _plain(row)
    except (pa.ArrowException, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        if number:
            raise RecordError(f"{path} cannot be read after row {number} ({reason})") from None
        raise RecordError(f"{path} is not a Parquet file ({reason})") from None


def _plain(value: Any) -> Any:
    """A value of a table in JSON's types: times as ISO text, decimals as numbers."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
