"""Resolves a folder given by the user to the model in it, and names that model."""

from pathlib import Path


def model_folder(name: str) -> str:
    """The model in a run folder (its `model/`), or the name itself."""
    inside = Path(name) / "model"
    return str(inside) if not (Path(name) / "config.json").exists() and inside.is_dir() else name


def name_of(model: str) -> str:
    """ "sft" for runs/sft/model and for runs/sft."""
    path = Path(model)
    return path.parent.name if path.name == "model" and path.parent.name else path.name
