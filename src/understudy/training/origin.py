"""Where a run comes from: the content of its inputs, the runs that made them, the code."""

import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from understudy.records.hub import is_dataset, saved_folder
from understudy.records.names import MANIFEST, is_packed


def describe_input(source: str | Path) -> dict[str, Any]:
    """Path and content hash of a file or folder; the hash of any other name is None.

    A folder of packed text is identified by its manifest, which holds the hashes of the tokens and
    of the files that they come from.
    """
    path = Path(source)
    if path.is_file():
        return {"path": str(source), "sha256": _file_hash(path)}
    if is_packed(path):
        manifest = path / MANIFEST
        packed = json.loads(manifest.read_text(encoding="utf-8"))["inputs"]
        return {"path": str(source), "sha256": _file_hash(manifest), "packed_from": packed}
    if path.is_dir():
        return {"path": str(source), "sha256": folder_hash(path)}
    folder = saved_folder(source)
    if folder is not None:  # "folder#split"
        return {"path": str(source), "sha256": folder_hash(folder)}
    if isinstance(source, Path):
        check_input(source)
    return {"path": str(source), "sha256": None}


def check_input(source: Path) -> None:
    """ValueError unless it is a file, a folder or a data set by name."""
    if not source.exists() and saved_folder(source) is None and not is_dataset(source):
        raise ValueError(f"input {source} does not exist; check the path")


def folder_hash(folder: Path) -> str:
    """sha256 over the names and hashes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {_file_hash(path)}\n".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_parents(inputs: Mapping[str, str | Path | None]) -> dict[str, str]:
    """For each input that lies in a run folder, that folder."""
    parents = {}
    for name, source in inputs.items():
        if source is not None and Path(source).exists():
            path = Path(source).resolve()
            owner = next((p for p in (path, *path.parents) if (p / "run.json").is_file()), None)
            if owner is not None:
                parents[name] = str(owner)
    return parents


@functools.cache
def code_version() -> str:
    """The git commit of this source (with "-dirty" if changed), else the package's version."""
    folder = Path(__file__).resolve().parent

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        commit = git("rev-parse", "--short=12", "HEAD")
        dirty = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return version("understudy")
    assert tracked
    return f"{commit}-dirty" if dirty else commit
