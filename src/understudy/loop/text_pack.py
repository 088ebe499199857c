"""`understudy text pack`: encodes pretraining text once, into a folder that trainers read from disk
(records/packed.py).

The files are read twice: first to find bad rows and count documents, which takes little time
compared with encoding. If the command is killed, it later continues from its last save.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from tyro.conf import Positional, arg

from understudy.records.convert import many
from understudy.records.names import MANIFEST, TOKENS, is_packed
from understudy.records.packed import FORMAT, PARTIAL, hash_of
from understudy.training.origin import check_input

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SAVE_SECONDS = 10.0
"""Time between two saves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackConfig:
    """Encode pretraining text once, so that sft and ppo read it from disk."""

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE [FILE ...]")]
    """Files or folders of text, plain or with a "text" in each row (docs/records.md), in this
    order."""
    model: str
    """Model whose tokenizer encodes it: the one that will be trained."""
    out: Path
    """Folder for the tokens; one left by a killed run is continued."""

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("text pack needs at least one file of text")


@dataclass(slots=True)
class _Done:
    """How much is packed, which is where a killed run continues."""

    documents: int = 0
    tokens: int = 0


def pack_text(config: PackConfig) -> str:
    """Pack, and report the result; ValueError for a folder in use."""
    _refuse_used(config.out)
    for file in config.files:
        check_input(file)
    from understudy.models.policies import load_tokenizer
    from understudy.models.text import dtype_of, identity
    from understudy.training.lock import lock_folder, unlock_folder
    from understudy.training.origin import describe_input
    from understudy.training.run import write_atomic

    tokenizer = load_tokenizer(config.model)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "dtype": dtype_of(tokenizer),
        "tokenizer": {"model": config.model, **identity(tokenizer)},
        "inputs": [describe_input(file) for file in config.files],
    }
    started = _read_partial(config.out, facts)
    total = started["total"] if started else sum(1 for _ in _documents(config, notes=True))
    config.out.mkdir(parents=True, exist_ok=True)
    lock_folder(config.out)
    done = _Done(**started["done"]) if started else _Done()

    def save() -> None:
        partial = {"done": {"documents": done.documents, "tokens": done.tokens}, "total": total}
        write_atomic(config.out / PARTIAL, json.dumps(facts | partial, indent=2) + "\n")

    save()
    digest = _encode(config, tokenizer, facts["dtype"], done, total, save)
    counts = {"documents": done.documents, "tokens": done.tokens, "sha256": digest}
    write_atomic(config.out / MANIFEST, json.dumps(facts | counts, indent=2) + "\n")
    (config.out / PARTIAL).unlink()
    unlock_folder(config.out)
    return f"{config.out}: {done.tokens:,} tokens of {many(done.documents, 'document')}"


def _refuse_used(out: Path) -> None:
    if is_packed(out):
        raise ValueError(f"{out} already holds packed text; choose another --out")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; choose a folder")
    own = {TOKENS, PARTIAL, f".{PARTIAL}.tmp", f".{MANIFEST}.tmp"}
    if out.is_dir() and (found := sorted({path.name for path in out.iterdir()} - own)):
        raise ValueError(f"{out} is not empty (it has {found[0]}); choose another --out")


def _read_partial(out: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The progress that a killed run saved; ValueError if it packed something else."""
    path = out / PARTIAL
    if not path.is_file():
        return None
    partial: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    differs = [name for name, value in facts.items() if partial.get(name) != value]
    if differs:
        raise ValueError(
            f"{out} holds unfinished packed text of other {' and '.join(differs)}; give the same "
            "again, remove the folder, or choose another --out"
        )
    return partial


def _documents(config: PackConfig, notes: bool = False) -> Iterator[str]:
    from understudy.models.text import iter_text

    return chain.from_iterable(iter_text(file, notes) for file in config.files)


def _encode(
    config: PackConfig, tokenizer: "Tokenizer", dtype: str, done: _Done, total: int, save: Any
) -> str:
    """Write the tokens of the documents that are not `done`; returns the sha256 of all tokens."""
    import numpy as np

    from understudy.models.text import encoded
    from understudy.training.progress import Progress

    path = config.out / TOKENS
    path.touch()
    kept = done.tokens * np.dtype(dtype).itemsize
    if path.stat().st_size < kept:
        raise ValueError(
            f"{path} is shorter than {PARTIAL} says; remove {config.out} and start again"
        )
    os.truncate(path, kept)
    digest = hash_of(path)
    left = islice(_documents(config), done.documents, None)
    saved = time.monotonic()
    with path.open("ab") as file, Progress(total, "Packing") as progress:
        progress.first = done.documents
        for documents, ids in encoded(tokenizer, left):
            part = np.array(ids, dtype).tobytes()
            digest.update(part)
            file.write(part)
            done.documents += documents
            done.tokens += len(ids)
            if time.monotonic() - saved >= SAVE_SECONDS:
                _flush(file)
                save()
                saved = time.monotonic()
            progress.update(done.documents, {"tokens": done.tokens})
        _flush(file)
    return str(digest.hexdigest())


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
