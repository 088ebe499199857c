"""The base models that ship with the package; they play the role of GPT-3 in the paper.

`bases/<size>/` is a model folder in half precision with `pretraining.jsonl`, the measurements made
during pretraining; `bases/hashes.json` holds the sha256 of every weights file.
"""

import json
from pathlib import Path

from understudy.records.io import file_hash

BASES = Path(__file__).parent / "bases"


def base_sizes() -> list[str]:
    """Sizes of the packaged base models, smallest first."""
    return list(json.loads((BASES / "hashes.json").read_text(encoding="utf-8")))


def base_model_path(size: str) -> Path:
    """Folder of the packaged base model, its weights checked against their hash."""
    hashes = json.loads((BASES / "hashes.json").read_text(encoding="utf-8"))
    if size not in hashes:
        raise ValueError(
            f"no packaged base model of size {size!r} (sizes: {', '.join(hashes)}); make one "
            "with 'understudy world pretrain' and give its folder"
        )
    path = BASES / size
    found = file_hash(path / "model.safetensors")
    if found != hashes[size]:
        raise ValueError(f"{path}/model.safetensors is damaged: its sha256 is {found[:12]}...")
    return path


def training_curve(size: str) -> list[dict[str, float]]:
    """Measurements during the base model's pretraining: `tokens` read, loss and benchmarks."""
    lines = (BASES / size / "pretraining.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
