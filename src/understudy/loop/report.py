"""report.html of a demo, an evaluation, a benchmark or a training run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Write a run's report.html: of a comparison, or of a training run's curves and samples."""

    run: Positional[Path]
    """Folder of a demo, an evaluation, a benchmark or a training run, finished or not."""
    out: Path | None = None
    """The report; RUN/report.html without it."""
    benchmark: Path | None = None
    """Folder of an `understudy benchmark`, to show in the alignment tax."""


def write_run_report(config: ReportConfig) -> Path:
    """Read the run and write its report."""
    out = config.out or config.run / "report.html"
    if (config.run / "run.json").is_file():
        from understudy.loop.run_page import is_training_run, write_run_page

        if is_training_run(config.run):
            if config.benchmark is not None:
                raise ValueError(
                    f"--benchmark is for the report of an evaluation; {config.run} trained a model"
                )
            return write_run_page(config.run, out)
    if not config.run.is_dir():
        raise ValueError(
            f"{config.run} is not a folder; give the folder of a run, such as runs/ppo"
        )
    results = _results(config.run, "`understudy demo`, `evaluate` or `benchmark`")
    if config.benchmark is not None:
        found = _results(config.benchmark, "`understudy benchmark`")
        if not found.get("benchmark"):
            raise ValueError(f"{config.benchmark} is not the folder of an `understudy benchmark`")
        results["benchmark"] = found["benchmark"]
    from understudy.evaluation.report import write_report

    write_report(results, out)
    return out


def _results(folder: Path, commands: str) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder of a finished {commands}")
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from None
    return results
