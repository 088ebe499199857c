"""Tasks by name, ours or any of the harness's, with their rows from the hub or from files."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from understudy.evaluation.harness.data import find_rows, names_of
from understudy.evaluation.harness.paper import BY_NAME, PAPER
from understudy.models.policies import one_line
from understudy.records.hub import read_dataset

OURS = Path(__file__).parent / "tasks"
"""Our task files."""
POOL = 2000
"""Number of training rows from which few-shot examples are drawn."""

FILES = {
    "truthfulqa_mc1": "truthfulqa_mc",
    "truthfulqa_mc2": "truthfulqa_mc",
    "truthfulqa_gen": "truthfulqa",
    "crows_pairs_english": "crows_pairs",
    "sglue_rte": "rte",
    "sst2": "sst",
}
"""Harness task -> name of its data file, if that is not the task's own name."""


def expand(names: Sequence[str]) -> list[str]:
    """Task names, with "paper" expanded; ValueError for an unknown one, before anything runs."""
    wanted: list[str] = []
    for name in names:
        found = [task.name for task in PAPER] if name == "paper" else _members(name)
        wanted += [task for task in found if task not in wanted]
    return wanted


def _members(name: str) -> list[str]:
    """The tasks that a name stands for: itself, or the members of a group or tag."""
    config = config_of(name)
    if config is not None:
        return [name]
    manager = _manager_of(name)
    if name not in manager.all_tasks:
        near = ", ".join(task for task in manager.all_tasks if name[:4] in task)[:200]
        raise ValueError(f"no task is called {name!r}; similar names: {near or 'none'}")
    loaded = _quietly(lambda: manager.load([name])["tasks"], name)
    return [str(task) for task in loaded]


def config_of(name: str) -> Mapping[str, Any] | None:
    """A task's file; None for a group or a tag."""
    entry = _manager_of(name).task_index.get(name)
    if entry is None or entry.cfg is None or "group" in entry.cfg:
        return None
    return entry.cfg


def build(name: str, data_dir: Path | None, shots: int) -> Task:
    """The task with its rows and `shots` few-shot examples.

    If rows are missing, ValueError names the accepted files.
    """
    config = config_of(name)
    assert config is not None, name
    overrides: dict[str, Any] = {}
    if "class" not in config:
        splits = _rows(name, config, data_dir, shots)
        if splits is not None:
            overrides = {"custom_dataset": lambda **_: splits, "dataset_kwargs": None}
            if config.get("training_split") not in splits:
                overrides |= {"training_split": None, "fewshot_split": None}
    inline = {"group": f"{name}_inline", "task": [{"task": name, **overrides}]}
    loaded = _quietly(lambda: _manager_of(name).load([inline])["tasks"], name)
    task: Task = next(iter(loaded.values()))
    if task.get_config("num_fewshot") is None or shots:
        task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(seed=1234)
    return task


def data_name(name: str) -> str:
    """The name of a task's rows in --data-dir."""
    metadata = (config_of(name) or {}).get("metadata")
    named = metadata.get("data") if isinstance(metadata, Mapping) else None
    return str(named or FILES.get(name, name))


def _rows(
    name: str, config: Mapping[str, Any], data_dir: Path | None, shots: int
) -> dict[str, datasets.Dataset] | None:
    """Rows by split: from a file if there is one, else, for the paper's tasks, from the hub. None
    leaves reading to the harness."""
    test = config.get("test_split") or config.get("validation_split")
    train = config.get("training_split")
    assert test, name
    file = data_name(name)
    found = {test: None if data_dir is None else find_rows(data_dir, file)}
    if found[test] is not None:
        assert data_dir is not None
        if shots:
            found[train] = find_rows(data_dir, f"{file}.train")
            if found[train] is None:
                raise ValueError(
                    f"{name} needs few-shot examples: put them in {data_dir}/{file}.train.jsonl, "
                    "or leave out --few-shot"
                )
    elif name in BY_NAME:
        found[test] = _from_hub(config, test, file)
        if shots:
            found[train] = _from_hub(config, f"{train}[:{POOL}]", file)
    else:
        return None
    return {split: datasets.Dataset.from_list(rows) for split, rows in found.items() if rows}


def _from_hub(config: Mapping[str, Any], split: str, file: str) -> list[dict[str, Any]]:
    part = config.get("dataset_name")
    source = f"{config['dataset_path']}{f'@{part}' if part else ''}#{split}"
    try:
        return [row for _, row in read_dataset(source)]
    except ValueError as error:
        raise ValueError(
            f"{error}; or put {names_of(file)} into a folder and pass it as --data-dir"
        ) from None


def _quietly(load: Callable[[], Any], name: str) -> Any:
    """Call `load` without the harness's log messages; any error becomes a one-line ValueError."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return load()
    except Exception as error:  # the packages raise many types of exception
        raise ValueError(
            f"task {name} cannot be loaded: {one_line(error)}; or put its rows into a folder as "
            f"{names_of(FILES.get(name, name))} and pass the folder as --data-dir"
        ) from None
    finally:
        if bars:
            datasets.enable_progress_bars()


@cache
def _manager_of(name: str) -> TaskManager:
    """A manager that knows the task: one of our folder or of the task's, else one of all tasks,
    which takes about 20 seconds."""
    if any(OURS.glob(f"{name}.yaml")):
        return _manager(OURS)
    root = Path(str(lm_eval.tasks.__file__)).parent
    for path in sorted(root.rglob(f"{name}.y*ml")):
        manager = _manager(path.parent)
        if name in manager.all_tasks:
            return manager
    return _manager(None)


@cache
def _manager(folder: Path | None) -> TaskManager:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if folder is None:
        return TaskManager()
    return TaskManager(include_path=str(folder), include_defaults=False)
