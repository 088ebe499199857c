"""Reads records from all formats of `files` in all `shapes`; writes JSON Lines (.jsonl) or Parquet
(.parquet).

Writing is atomic: a reader sees the old file or the complete new one. A Parquet column cannot mix
text and lists, so fields that are not plain values are stored as JSON text and named in the file's
metadata. Parquet files from elsewhere with real lists and structs can be read too.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from uuid import uuid4

from understudy.records.convert import Json, RecordError, many
from understudy.records.files import JSON_COLUMNS
from understudy.records.reading import Found, read_found, say
from understudy.records.shelf import Shelf


class _Storable(Protocol):
    def to_json(self) -> Json: ...

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self: ...


T = TypeVar("T", bound=_Storable)


def read_records(path: Path | str, kind: type[T]) -> list[T]:
    """All records of a file; RecordError names file and line of a bad row, or says that there are
    no records."""
    return list(_some_records(path, kind))


def shelve_records(path: Path | str, kind: type[T]) -> Shelf[T]:
    """`read_records` for files of any size: the records stay on the disk."""
    return Shelf(_some_records(path, kind))


def _some_records(path: Path | str, kind: type[T]) -> Iterator[T]:
    found, some = Found(), False
    for _, record in read_found(path, kind, found):
        some = True
        yield record
    say(found, path)
    if not some:
        rows = many(found.num_rows, "row")
        what = "no rows" if not found.num_rows else f"no {_noun(kind)} in its {rows}"
        raise RecordError(f"{path} has {what}; it must hold at least one {_noun(kind)}")


def iter_records(path: Path | str, kind: type[T]) -> Iterator[T]:
    """The records of a file one by one; RecordError as in `read_records`. Valid rows that are not
    for training are left out and counted on standard error."""
    found = Found()
    for _, record in read_found(path, kind, found):
        yield record
    say(found, path)


def write_records(path: Path | str, records: Iterable[_Storable]) -> Path:
    """Write records atomically to a .jsonl or .parquet file; creates its folder if missing."""
    path = Path(path)
    write = {".jsonl": _write_jsonl, ".parquet": _write_parquet}.get(path.suffix)
    if write is None:
        raise RecordError(f"{path} must end in .jsonl or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        write(partial, records)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def file_hash(path: Path | str) -> str:
    """sha256 of a file's bytes, or of the names and hashes of all files below a folder."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return sha256_of([[file.relative_to(path).as_posix(), file_hash(file)] for file in files])
    if not path.exists():
        raise RecordError(f"{path} does not exist")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(obj: Any) -> str:
    """sha256 of a JSON-like value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _noun(kind: type) -> str:
    return str(getattr(kind, "noun", kind.__name__))


def _write_jsonl(path: Path, records: Iterable[_Storable]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _write_parquet(path: Path, records: Iterable[_Storable]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [record.to_json() for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    as_json = [name for name in names if any(isinstance(r.get(name), list | dict) for r in rows)]
    for row in rows:
        for name in as_json:
            row[name] = None if row.get(name) is None else json.dumps(row[name], ensure_ascii=False)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    table = table.replace_schema_metadata({JSON_COLUMNS: json.dumps(as_json).encode()})
    with path.open("wb") as stream:
        pq.write_table(table, stream)
        stream.flush()
        os.fsync(stream.fileno())
