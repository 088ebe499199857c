"""report.html from the results.json of a demo or an evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Write report.html from a run's results.json."""

    run: Positional[Path]
    """Folder of a demo or an evaluation, with results.json in it."""
    out: Path | None = None
    """The report; RUN/report.html without it."""
    benchmark: Path | None = None
    """Folder of an `understudy benchmark`, to show in the alignment tax."""


def write_run_report(config: ReportConfig) -> Path:
    """Read RUN/results.json and write the report."""
    results = _results(config.run, "`understudy demo`, `evaluate` or `benchmark`")
    if config.benchmark is not None:
        found = _results(config.benchmark, "`understudy benchmark`")
        if not found.get("benchmark"):
            raise ValueError(f"{config.benchmark} is not the folder of an `understudy benchmark`")
        results["benchmark"] = found["benchmark"]
    from understudy.evaluation.report import write_report

    out = config.out or config.run / "report.html"
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
