"""docs/metrics.md from training/metrics.py; `make docs` writes it."""

from itertools import groupby

from understudy.training.metrics import METRICS, is_timing

HEAD = """# Metrics

Every metric that a stage logs, one line per step or iteration in the run folder's `metrics.jsonl`.
Those marked * are wall-clock figures and go to `timings.jsonl`, so that a resumed run writes the
same `metrics.jsonl` as an uninterrupted one. `Run.log` refuses a name that is not here.
`make docs` writes this page from `training/metrics.py`.
"""


def metrics_page() -> str:
    """The page's text."""
    parts = [HEAD]
    for stage, names in groupby(METRICS, key=lambda name: name.partition("/")[0]):
        rows = [f"| `{n}`{'*' if is_timing(n) else ''} | {_cell(METRICS[n])} |" for n in names]
        parts.append(f"\n## {stage}\n\n| metric | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
