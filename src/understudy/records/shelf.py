"""Rows on the disk, for data that is larger than memory."""

import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar, overload

T = TypeVar("T")


PART = 1024
"""Rows in a part, which are worked on together."""


def parts_of(rows: Iterable[T], size: int = PART) -> Iterator[tuple[int, list[T]]]:
    """(number of its first row, rows) of each part.

    >>> list(parts_of("abc", 2))
    [(0, ['a', 'b']), (2, ['c'])]
    """
    left, start = iter(rows), 0
    while part := list(islice(left, size)):
        yield start, part
        start += len(part)


def shelf_folder() -> str | None:
    """The folder of the files: what TMPDIR names, else /var/tmp, which is not kept in memory."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)


class Shelf(Sequence[T]):
    """A sequence whose rows are in a temporary file; memory holds 8 bytes a row.

    The file has no name and goes with the process. Rows are pickled, and read by this process only.

    >>> shelf = Shelf(["a", "b"])
    >>> shelf.append("c")
    >>> len(shelf), shelf[2], list(shelf)
    (3, 'c', ['a', 'b', 'c'])
    """

    def __init__(self, rows: Iterable[T] = ()) -> None:
        try:
            file = tempfile.TemporaryFile(buffering=1 << 16, dir=shelf_folder())  # noqa: SIM115
        except OSError as error:
            raise _no_room(error) from None
        self._file = file  # closed with this object
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])
        self._written = 0
        for row in rows:
            self.append(row)

    def append(self, row: T) -> None:
        """Add a row at the end; OSError if the disk is full."""
        found = pickle.dumps(row, protocol=5)
        try:
            self._file.write(found)
        except OSError as error:
            raise _no_room(error) from None
        self._ends.append(self._ends[-1] + len(found))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start, end = self._ends[index], self._ends[index + 1]
        if end > self._written:
            self._flush()
        row: T = pickle.loads(os.pread(self._file.fileno(), end - start, start))
        return row

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from None
        self._written = self._ends[-1]


def _no_room(error: OSError) -> OSError:
    advice = f"{error.strerror}; data is kept there while it is used: let TMPDIR name another"
    return OSError(error.errno, advice, shelf_folder())
