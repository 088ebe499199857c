"""Data sets by name, through the optional `datasets` package.

A source is `ORG/NAME`, with `@CONFIG` and `#SPLIT` if needed (the split is "train" by default), or
a folder that `datasets` saved. No data set's own code is run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy.records.convert import RecordError
from understudy.records.names import SUFFIXES, base_suffix, is_saved

_NAME = re.compile(r"(?P<base>[\w-][\w.-]*/[\w.-]+)(@(?P<config>[\w.-]+))?(#(?P<split>.+))?")


def saved_folder(source: Path | str) -> Path | None:
    """The folder of `FOLDER` or `FOLDER#SPLIT`, if it is on this disk."""
    folder = Path(str(source).partition("#")[0])
    return folder if folder.is_dir() else None


def is_dataset(source: Path | str) -> bool:
    """Whether `source` names a data set rather than files: a folder that `datasets` saved, or
    ORG/NAME."""
    folder = saved_folder(source)
    if folder is not None:
        return is_saved(folder)
    match = _NAME.fullmatch(str(source))
    return (
        match is not None
        and base_suffix(match["base"]) not in SUFFIXES
        and not Path(source).exists()
    )


def read_dataset(source: Path | str) -> Iterator[tuple[str, Any]]:
    """("row N", row) of every row; RecordError when the data set or the package is missing."""
    try:
        import datasets
    except ImportError:
        raise RecordError(
            f"{source} is not a file, and reading it as a data set by name needs the package "
            "'datasets': pip install 'understudy[datasets]'; or give a file"
        ) from None
    text = str(source)
    split = text.partition("#")[2] or "train"
    try:
        folder = saved_folder(source)
        if folder is not None:
            data = datasets.load_from_disk(str(folder))
            if isinstance(data, datasets.DatasetDict):
                if split not in data:
                    raise ValueError(f"it has the splits {', '.join(data)}")
                data = data[split]
        else:
            match = _NAME.fullmatch(text)
            assert match is not None
            with _offline_unless_reached(match["base"]):
                data = datasets.load_dataset(match["base"], match["config"], split=split)
    except Exception as error:  # the package raises its own error types
        reason = " ".join(str(error).split())[:200]
        raise RecordError(f"data set {source} (split {split}) cannot be read: {reason}") from None
    for number, row in enumerate(data, start=1):
        yield f"row {number}", row


@contextmanager
def _offline_unless_reached(name: str) -> Iterator[None]:
    """Use only local copies if the hub does not respond to one request; otherwise the packages
    would retry each of their requests for half a minute, with warnings.
    """
    import datasets
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    reached = True
    try:
        get_hf_file_metadata(hf_hub_url(name, "README.md", repo_type="dataset"))
    except HfHubHTTPError:  # the hub responds: there is no such file, or it wants authentication
        pass
    except Exception:  # the packages raise their own error types
        reached = False
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not reached:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception:
        if reached:
            raise
        raise ValueError("the hub cannot be reached, and there is no local copy") from None
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
