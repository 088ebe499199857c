"""`understudy benchmark`: the paper's public benchmarks, or any of the harness's, on models.

    understudy benchmark --models base=BASE sft=runs/sft/model ppo_ptx=runs/ppo/model \
        --tasks paper --data-dir data --out runs/benchmark

Writes items/MODEL/TASK.jsonl (the pick or text, an item per line) with a TASK.json beside it once
the pair is done, results.json and report.html. A finished pair never runs again: `--resume`
continues with the next.
"""

import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.evaluation.config import model_folders
from understudy.evaluation.harness.config import BenchmarkConfig
from understudy.evaluation.report import write_report
from understudy.models.compute import place
from understudy.models.policies import load_policy, load_tokenizer
from understudy.training.folder import read_record
from understudy.training.opening import open_run
from understudy.training.run import Run, write_atomic
from understudy.training.stop import EXIT_STOPPED, stop_on_signal

ITEMS = "items"


def benchmark(config: BenchmarkConfig) -> Path:
    """Run every task on every model; returns the run folder."""
    check_installed()
    from understudy.evaluation.harness.pairs import Pairs

    # 1. Read every task's rows and every tokenizer first, so that bad input leaves no folder.
    folders = model_folders(config.models)
    for folder in folders.values():
        load_tokenizer(folder)
    pairs = Pairs(config)
    if config.overwrite:
        _remove_items(config.out)
    inputs: dict[str, str | Path | None] = {f"model {name}": f for name, f in folders.items()}
    inputs["data_dir"] = config.data_dir
    run = open_run(
        config.out, stage="benchmark", config=config, inputs=inputs, seed=config.seed,
        resume=config.resume, overwrite=config.overwrite,
    )  # fmt: skip
    # 2. The unfinished pairs, one model at a time.
    with stop_on_signal() as stop:
        for name, folder in folders.items():
            wanted = [task for task in pairs.tasks if not _done(run, name, task)]
            if not wanted:
                continue
            model, tokenizer = load_policy(folder)
            place(model, config, frozen=True)
            for task in wanted:
                rows, notes = pairs.run(task, model, tokenizer)
                _write(run, name, task, rows, notes)
                cut = f", {notes['num_cut']} contexts cut to fit" if notes["num_cut"] else ""
                print(f"{name}: {task}, {len(rows)} items{cut}", flush=True)
                if stop.requested:
                    print(f"stopped; continue with the same command and --resume ({config.out})")
                    raise SystemExit(EXIT_STOPPED)
    # 3. Estimates, differences from the baseline, the report.
    found = {name: {task: _rows(run, name, task) for task in pairs.tasks} for name in folders}
    table = pairs.table(found, config.baseline or next(iter(folders)))
    results = {
        "title": "Public benchmarks",
        "lead": "What each model does on public tasks: skills, truthfulness, toxicity, bias.",
        "seed": config.seed,
        "benchmark": table,
        "code_version": run.record["code_version"],
        "settings": {"benchmark": run.record["config"]},
    }
    run.finish(results)
    write_report(run.results, run.dir / "report.html")
    return run.dir


def check_installed() -> None:
    """ValueError if the extra is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError(
            "benchmarks need lm-evaluation-harness: pip install 'understudy[benchmarks]'"
        )


def _place_of(run: Run, model: str, task: str) -> Path:
    return run.dir / ITEMS / model.replace("/", "_") / f"{task.replace('/', '_')}.jsonl"


def _done(run: Run, model: str, task: str) -> bool:
    return _place_of(run, model, task).with_suffix(".json").is_file()


def _write(
    run: Run, model: str, task: str, rows: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]
) -> None:
    path = _place_of(run, model, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(path, lines.encode("utf-8", "replace").decode())
    write_atomic(path.with_suffix(".json"), json.dumps(notes, indent=1) + "\n")


def _rows(run: Run, model: str, task: str) -> list[dict[str, Any]]:
    path = _place_of(run, model, task)
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _remove_items(folder: Path) -> None:
    record = read_record(folder)
    if record is not None and record["stage"] == "benchmark":
        shutil.rmtree(folder / ITEMS, ignore_errors=True)
