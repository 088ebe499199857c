"""Opens a run folder: a new run, one to resume, or an error with the reason.

run = open_run(config.out, stage="sft", config=config, inputs={"data": config.data}, seed=0)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.training.board import open_views
from understudy.training.config import dump_toml, read_toml, to_plain
from understudy.training.folder import refuse_used
from understudy.training.origin import code_version, describe_input, find_parents
from understudy.training.ranks import ALONE, Ranks
from understudy.training.run import Run, now


def open_run(
    out: str | Path,
    *,
    stage: str,
    config: Any,
    inputs: Mapping[str, str | Path | None],
    seed: int,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """`prepare_run`, then claim the folder at once."""
    run = prepare_run(
        out,
        stage=stage,
        config=config,
        inputs=inputs,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
    )
    run.claim()
    return run


def prepare_run(
    out: str | Path,
    *,
    stage: str,
    config: Any,
    inputs: Mapping[str, str | Path | None],
    seed: int,
    resume: bool = False,
    overwrite: bool = False,
    ranks: Ranks = ALONE,
) -> Run:
    """A new run, whose folder `claim` takes later, or with `resume` the existing one.

    `inputs` are files and folders (hashed) or hub names (kept as text); None is left out. A folder
    with another run is refused, naming the differences; `overwrite` removes that run's files. Rank
    0 checks folder and inputs; all ranks must have the same settings and code.
    """
    run = ranks.on_first(lambda: _prepare(out, stage, config, inputs, seed, resume, overwrite))
    asked = {"code version": code_version(), **to_plain(config)} if ranks.world > 1 else {}
    facts = run and {"asked": asked, "record": run.record, "resumed": run.resumed}
    facts = ranks.from_rank(0, facts)
    with ranks.together():
        differs = [name for name in asked if asked[name] != facts["asked"].get(name)]
        if differs:
            raise ValueError(
                f"its settings differ from rank 0's ({', '.join(differs)}); start the same command "
                "everywhere"
            )
    if run is None:
        run = Run(Path(out), facts["record"], resumed=facts["resumed"])
    run.ranks = ranks
    return run


def _prepare(
    out: str | Path,
    stage: str,
    config: Any,
    inputs: Mapping[str, str | Path | None],
    seed: int,
    resume: bool,
    overwrite: bool,
) -> Run:
    out = Path(out)
    keep = getattr(config, "keep_checkpoints", True)
    views = open_views(out, config)
    record = {
        "stage": stage,
        "status": "running",
        "code_version": code_version(),
        "seed": seed,
        "config": to_plain(config),
        "inputs": {k: describe_input(v) for k, v in inputs.items() if v is not None},
        "parents": find_parents(inputs),
        "started": now(),
    }
    existing = refuse_used(out, stage, record["config"], resume, overwrite)
    if existing is not None:
        _refuse_changed_inputs(out, existing, record)
        _refuse_edited_config(out, existing)
        if existing["status"] == "stopped":
            existing |= {"status": "running"}
        return Run(out, existing, resumed=True, views=views, keep_checkpoints=keep)
    return Run(
        out,
        record,
        overwrites=overwrite,
        config_toml=dump_toml(config),
        views=views,
        keep_checkpoints=keep,
    )


def _refuse_changed_inputs(out: Path, old: dict, new: dict) -> None:
    changed = [
        name
        for name, facts in new["inputs"].items()
        if facts["sha256"] != old["inputs"].get(name, {}).get("sha256")
    ]
    if changed:
        raise ValueError(
            f"{out} cannot resume: input {', '.join(changed)} has changed since the run began; "
            "restore it, or pass --overwrite to start again"
        )


def _refuse_edited_config(out: Path, record: dict) -> None:
    """ValueError for an edited config.toml: it is only a record, so edits have no effect."""
    path = out / "config.toml"
    if not path.exists():
        raise ValueError(f"{path} is missing; restore it, or pass --overwrite to start again")
    found = read_toml(path)
    kept = {key: value for key, value in record["config"].items() if value is not None}
    differs = sorted(key for key in {*found, *kept} if found.get(key) != kept.get(key))
    if differs:
        raise ValueError(
            f"{path} was edited since the run began ({', '.join(differs)}); settings come from the "
            "command line, so restore it, or start a new run in another --out"
        )
