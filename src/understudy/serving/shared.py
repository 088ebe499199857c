"""What the gateway's workers share: callers' limits, counts, and the last failures.

It is anonymous memory that the supervisor maps before it forks the workers, so it has no name,
leaves nothing behind, and outlives any worker. Callers' limits change under a POSIX record lock,
which makes them exact; the kernel releases the lock if its holder is killed. A single process has a
lock of its own instead.
"""

import mmap
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from fcntl import LOCK_EX, LOCK_UN, lockf
from hashlib import blake2b
from itertools import accumulate, pairwise

USERS, ADDRESSES = 1 << 16, 1 << 14
"""Most users and addresses with limits that are known at a time."""
WINDOW = 8
"""Slots that a name may be in. If all are taken, the name used least recently loses its slot: its
bucket has refilled by then, and its tokens can be read from the store again."""
MOST_KNOWN = 10_000
"""Most names whose slot a worker remembers."""
FIELDS = ("put", "written", "lost", "deleted", "connections")
"""What each worker counts: the log's events by their fate, rows that retention has deleted, and
open connections."""
_PLACES = {field: place for place, field in enumerate(FIELDS)}
OUTCOMES = ("log", "accounts", "backend", "retention", "start")
LONGEST = 200
"""Most bytes of an outcome's text."""
_SLOT = struct.Struct("=16sddqq")
_VALUES = struct.Struct("=ddqq")
_KEY = 16
_EMPTY = bytes(_KEY)


class Lock:
    """A lock between processes, but not between the threads of one."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the board closes it

    def __enter__(self) -> None:
        lockf(self.file, LOCK_EX)

    def __exit__(self, *args: object) -> None:
        lockf(self.file, LOCK_UN)


class Table:
    """For each name, a bucket of requests that refills over time, and the tokens of a day."""

    def __init__(self, memory: memoryview, lock: AbstractContextManager[object]) -> None:
        self.memory, self.lock = memory, lock
        self.num_starts = len(memory) // _SLOT.size - WINDOW + 1
        self.known: dict[str, tuple[bytes, int]] = {}

    @staticmethod
    def size(slots: int) -> int:
        """Bytes of memory for so many slots."""
        return (slots + WINDOW - 1) * _SLOT.size

    def take(self, name: str, rate: int, clock: Callable[[], float]) -> tuple[float, float]:
        """Take one of `rate` per minute; returns (0 or the seconds until one is free, requests that
        were taken and not refilled)."""
        with self.lock:
            now = clock()
            slot, (spent, at, day, used) = self._slot(name)
            spent = max(0.0, spent - max(0.0, now - at) * rate / 60)
            wait = (spent + 1 - rate) * 60 / rate
            if wait <= 0:
                spent += 1
            _VALUES.pack_into(self.memory, slot, spent, now, day, used)
            return max(0.0, wait), spent

    def seed(self, name: str, day: int, tokens: int) -> int:
        """Set the tokens of a day unless another worker has; returns what they are."""
        with self.lock:
            slot, (spent, at, known, used) = self._slot(name)
            if known != day:
                used = tokens
                _VALUES.pack_into(self.memory, slot, spent, at, day, used)
            return used

    def add(self, name: str, day: int, tokens: int) -> None:
        """Add tokens of a day; those of a name without a slot are only in the store."""
        with self.lock:
            slot = self._find(name)
            if slot is None:
                return
            spent, at, known, used = _VALUES.unpack_from(self.memory, slot)
            total = tokens + (used if known == day else 0)
            _VALUES.pack_into(self.memory, slot, spent, at, day, total)

    def look(self, name: str, day: int) -> tuple[float, int | None]:
        """(requests that were taken and not refilled, at the time of the last one; tokens of a day,
        None if they are not known yet)."""
        slot = self._find(name)
        if slot is None:
            return 0.0, None
        spent, _, known, used = _VALUES.unpack_from(self.memory, slot)
        return spent, used if known == day else None

    def _find(self, name: str) -> int | None:
        """Where a name's values are."""
        key, start = self.known.get(name, (_EMPTY, 0))
        if key != _EMPTY and self.memory[start : start + _KEY] == key:
            return start + _KEY
        key = _key(name)
        for start in self._starts(key):
            found = self.memory[start : start + _KEY]
            if found == key:
                if len(self.known) >= MOST_KNOWN:
                    self.known.clear()
                self.known[name] = (key, start)
                return start + _KEY
            if found == _EMPTY:
                break
        return None

    def _slot(self, name: str) -> tuple[int, tuple[float, float, int, int]]:
        """Where a name's values are, and what they are; gives a new name a slot."""
        slot = self._find(name)
        if slot is not None:
            return slot, _VALUES.unpack_from(self.memory, slot)
        key = _key(name)
        best, oldest = -1, float("inf")
        for start in self._starts(key):
            taken, _, at, *_ = _SLOT.unpack_from(self.memory, start)
            if taken == _EMPTY:
                best = start
                break
            if at < oldest:
                best, oldest = start, at
        _VALUES.pack_into(self.memory, best + _KEY, 0.0, 0.0, 0, 0)
        self.memory[best : best + _KEY] = key  # last: a worker killed here leaves a valid slot
        return best + _KEY, (0.0, 0.0, 0, 0)

    def _starts(self, key: bytes) -> range:
        first = int.from_bytes(key[:4], "little") % self.num_starts * _SLOT.size
        return range(first, first + WINDOW * _SLOT.size, _SLOT.size)


def _key(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()


class Outcome:
    """The latest outcome of something that every worker does."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory

    def succeeded(self) -> None:
        """Record a success."""
        self.memory[0] = 0

    def failed(self, text: str) -> None:
        """Record a failure and its reason."""
        said = text.encode("utf-8", "replace")[:LONGEST] or b"?"
        self.memory[1 : 1 + len(said)] = said
        self.memory[0] = len(said)

    @property
    def error(self) -> str | None:
        """Why it failed; None after a success."""
        said = bytes(self.memory[1 : 1 + self.memory[0]])
        return said.decode("utf-8", "replace") or None

    @property
    def state(self) -> str:
        """For the health page."""
        return "failing" if self.memory[0] else "ok"


class Board:
    """All that a number of workers share; a single process has its own."""

    def __init__(self, workers: int = 1, *, users: int = USERS, addresses: int = ADDRESSES) -> None:
        self.workers, self.index = workers, 0
        self.started = int(time.time())
        tables = [Table.size(users), Table.size(addresses)]
        sizes = [*tables, 8 * workers * (len(FIELDS) + 1), *[1 + LONGEST] * len(OUTCOMES)]
        ends = list(accumulate(sizes, initial=0))
        memory = memoryview(mmap.mmap(-1, ends[-1]))
        parts = [memory[begin:end] for begin, end in pairwise(ends)]
        self._lock = None if workers == 1 else Lock()
        lock = self._lock or threading.Lock()
        self.users, self.addresses = Table(parts[0], lock), Table(parts[1], lock)
        self._counts = parts[2].cast("q")
        named = zip(OUTCOMES, parts[3:], strict=True)
        self.outcomes = {name: Outcome(part) for name, part in named}

    def close(self) -> None:
        """Close the lock's file."""
        if self._lock is not None:
            self._lock.file.close()

    def enter(self, index: int) -> None:
        """From here on, this process and those that it forks are worker `index`, perhaps in the
        place of one that was killed."""
        self.index = index
        self._set("put", self._of(index, "written") + self._of(index, "lost"))
        self._set("connections", 0)
        self._counts[self._ready(index)] = 0

    def is_ready(self, index: int) -> bool:
        """Whether the worker that is now `index` has started."""
        return bool(self._counts[self._ready(index)])

    def set_ready(self) -> None:
        """This worker has started."""
        self._counts[self._ready(self.index)] = 1

    def count(self, field: str, number: int = 1) -> None:
        """Add to one of this worker's counts."""
        self._counts[self._place(self.index, field)] += number

    def total(self, field: str) -> int:
        """A count of all workers."""
        return sum(self._of(index, field) for index in range(self.workers))

    def connected(self, number: int) -> int:
        """Record how many connections this worker has; returns how many the others have."""
        self._set("connections", number)
        return self.total("connections") - number

    def _set(self, field: str, number: int) -> None:
        self._counts[self._place(self.index, field)] = number

    def _of(self, index: int, field: str) -> int:
        return self._counts[self._place(index, field)]

    def _place(self, index: int, field: str) -> int:
        return index * (len(FIELDS) + 1) + _PLACES[field]

    def _ready(self, index: int) -> int:
        return index * (len(FIELDS) + 1) + len(FIELDS)
