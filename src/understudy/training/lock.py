"""One process per folder: a lock that the system releases however its holder ends.

The lock (`flock`) is on the folder itself, so a dead process leaves no lock file behind. Its holder
may take it again.
"""

import fcntl
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)
_held: dict[Path, int] = {}


def lock_folder(folder: Path) -> None:
    """Hold an existing folder until `unlock_folder` or the end of this process; ValueError when
    another process holds it."""
    path = folder.resolve()
    if path in _held and os.fstat(_held[path]).st_ino == path.stat().st_ino:
        return
    unlock_folder(folder)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(
            f"{folder} is in use by another process; wait until it ends, or choose another --out"
        ) from None
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): do not start a second process there", folder, error)
    _held[path] = handle


def unlock_folder(folder: Path) -> None:
    """Release the folder."""
    handle = _held.pop(folder.resolve(), None)
    if handle is not None:
        os.close(handle)


def _forget() -> None:
    """Drop the locks in a forked child, so that the parent's locks end with the parent."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
