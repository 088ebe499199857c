"""Checks what a run folder holds before a run claims it. Loads no PyTorch, so that a used folder is
refused at once."""

import json
from pathlib import Path
from typing import Any

from understudy.training.lock import lock_folder

OWN_FILES = (
    "config.toml",
    "metrics.jsonl",
    "timings.jsonl",
    "results.json",
    "samples.jsonl",
    "report.html",
    "checkpoints",
    "model",
    "adapter",
    "rollout",
    "ensemble",
    "folds",
    "tensorboard",
    "track.json",
    "run.json",
)
"""A run's files, which `overwrite` removes; run.json last, so that an interrupted removal can be
repeated."""

HANDLING = (
    *("out", "resume", "overwrite", "tensorboard", "track", "keep_checkpoints"),
    *("replicas", "tensor_parallel", "rollout_ranks", "cpu_offload", "vllm", "vllm_tolerance"),
    "judge_url",  # where the judge is; judge_model says who
)
"""Config fields that do not affect the result: runs that differ only here are the same run."""


def read_record(folder: Path) -> dict[str, Any] | None:
    """run.json of a folder, or None where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not valid JSON; choose another --out or --overwrite") from None


def refuse_used(
    out: Path, stage: str, config: dict[str, Any], resume: bool, overwrite: bool
) -> dict[str, Any] | None:
    """run.json of the run to resume, None for a new one; ValueError if another run or another
    program has the folder, or another process uses it. `config` is plain data."""
    if (out / "run.json").is_file():
        lock_folder(out)
    existing = None if overwrite else read_record(out)
    if existing is None:
        _refuse_strange_files(out, overwrite)
    else:
        _refuse_another(out, existing, stage, config, resume)
    return existing


def _refuse_another(out: Path, old: Any, stage: str, config: Any, resume: bool) -> None:
    if old["stage"] != stage:
        found = f"stage {old['stage']}"
    else:
        differs = sorted(
            key
            for key in {*old["config"], *config} - set(HANDLING)
            if old["config"].get(key) != config.get(key)
        )
        found = f"stage {old['stage']}, config differs in {', '.join(differs)}" if differs else ""
    if not found and config.get("vllm") and not old["config"].get("vllm"):
        raise ValueError(
            f"{out} has sampled in its own process so far; responses by vLLM would differ, so "
            "resume it without --vllm, or choose another --out"
        )
    if found:
        raise ValueError(
            f"{out} holds another run ({found}); choose another --out or pass --overwrite"
        )
    if not resume:
        raise ValueError(
            f"{out} already holds this run ({old['status']}); pass --resume to continue it, "
            "--overwrite to start again, or choose another --out"
        )


def _refuse_strange_files(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; choose a folder")
    # What a killed start left must not block the next one.
    started = {"config.toml", ".config.toml.tmp", ".run.json.tmp"}
    if overwrite and (out / "run.json").is_file():
        started.update(OWN_FILES)
    if out.is_dir() and (found := sorted({p.name for p in out.iterdir()} - started)):
        raise ValueError(
            f"{out} is not empty and holds no run (found {found[0]}); choose another --out"
        )
