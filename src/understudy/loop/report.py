"""report.html from the results.json of a demo or an evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """Write report.html from a run's results.json."""

    run: Positional[Path]
    """Folder of a demo or an evaluation, with results.json in it."""
    out: Path | None = None
    """The report; RUN/report.html without it."""


def write_run_report(config: ReportConfig) -> Path:
    """Read RUN/results.json and write the report."""
    path = config.run / "results.json"
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; give the folder of a finished `understudy demo` or `evaluate`"
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from None
    from understudy.evaluation.report import write_report

    out = config.out or config.run / "report.html"
    write_report(results, out)
    return out
