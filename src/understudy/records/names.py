"""Which suffixes mark files of rows, and which files of a folder belong to a split."""

import re
from pathlib import Path

from understudy.records.convert import RecordError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".txt")
"""Suffixes of files of rows."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compression, which may follow."""
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
"""Prefixes of splits' names, and our split for each."""
MANIFEST, TOKENS = "tokens.json", "tokens.bin"
"""The files of packed text (`packed`); a folder with the second alone is unfinished."""
_SAVED = ("dataset_info.json", "dataset_dict.json")


def base_suffix(path: Path | str) -> str:
    """The suffix of a file's format, without that of its compression."""
    path = Path(path)
    suffix = compression(path)
    return (Path(path.stem).suffix if suffix else path.suffix).lower()


def compression(path: Path) -> str:
    """The suffix of a file's compression, or none."""
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSED else ""


def split_named(text: str) -> str | None:
    """Our split for a name: "validation" is valid, "test_prefs" is test.

    >>> [split_named(name) for name in ("validation", "train-00000-of-00002", "developers")]
    ['valid', 'train', None]
    """
    found = re.match("(train|valid|val|dev|test)(ation|ing|set)?(?![a-z])", text.lower())
    return SPLITS[found[1]] if found else None


def is_saved(folder: Path) -> bool:
    """Whether the `datasets` package saved this folder."""
    return any((folder / name).is_file() for name in _SAVED)


def is_packed(folder: Path) -> bool:
    """Whether `understudy text pack` finished this folder."""
    return (folder / MANIFEST).is_file()


def shards(source: Path | str) -> tuple[list[Path] | None, list[str]]:
    """(the files of `FOLDER` or `FOLDER#SPLIT` in name order, the names of those left out); None
    for the files if `source` is not such a folder.

    Files whose names begin with a split's belong to that split; the split is train by default. A
    folder without such names is read as a whole. Text files count only if there are no others.
    Notes about the data (a README, dataset_infos.json) are never rows.
    """
    name, _, split = str(source).partition("#")
    folder = Path(name)
    if not folder.is_dir() or is_saved(folder):
        return None, []
    if is_packed(folder):
        raise RecordError(
            f"{folder} is packed text, which only --pretrain-data of sft and ppo reads; give the "
            "text itself"
        )
    if (folder / TOKENS).is_file():
        raise RecordError(f"{folder} is unfinished: run its understudy text pack command again")
    found: list[Path] = []
    others: list[str] = []
    for place in (folder, folder / "data"):
        if place.is_dir() and not found:
            inside = sorted(path for path in place.iterdir() if not _is_about(path))
            found = [path for path in inside if path.is_file() and base_suffix(path) in SUFFIXES]
            found = [path for path in found if base_suffix(path) != ".txt"] or found
            others = [path.name for path in inside if path not in found]
    if not found:
        raise RecordError(f"{folder} is a folder without files of rows ({', '.join(SUFFIXES)})")
    splits = {path: split_named(path.name) for path in found}
    named = sorted({re.split(r"[-_.]", path.name)[0] for path, has in splits.items() if has})
    if not named and not split:
        return found, others
    wanted = split_named(split or "train")
    chosen = [path for path in found if splits[path] == wanted and wanted is not None]
    if not chosen:
        raise RecordError(
            f"{folder} has no files of the split {split or 'train'}; it has "
            f"{', '.join(named) or 'no splits'}: name one, as in {folder}#{(named or ['train'])[0]}"
        )
    return chosen, [path.name for path in found if path not in chosen] + others


def _is_about(path: Path) -> bool:
    """Whether a file is hidden, or about the data rather than of it."""
    return path.name.startswith((".", "_", "README", "LICENSE", "dataset_infos.json"))
