"""The base models that ship with the package, as GPT-3 was given to the paper's authors."""

from pathlib import Path

BASES = Path(__file__).parent / "bases"
PRETRAINING_PAGES = {"200k": 0, "1m": 0, "3m": 0}


def base_model_path(size: str) -> Path:
    """Folder of the packaged base model; ValueError names the sizes that there are."""
    path = BASES / size
    if not path.is_dir():
        known = ", ".join(sorted(p.name for p in BASES.iterdir())) if BASES.is_dir() else "none"
        raise ValueError(
            f"no packaged base model of size {size!r} (there are: {known}); "
            "make one with 'understudy world pretrain' and give its folder"
        )
    return path
