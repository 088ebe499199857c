"""A plan: stages connected by artifacts, and which of them are stale.

A stage is a function, its settings, the artifacts it reads and those it writes. Its *key* is the
sha256 of everything its outputs depend on: the function, the settings, the content of the inputs,
and the code that the function's module imports from its own package. The folder of a finished stage
holds a *stamp*, `stage.json`, with the key and the hashes of its outputs. A stage is finished when
its stamp has the current key and its outputs still have those hashes; otherwise it is stale. If a
stage runs again and writes the same bytes, later stages stay finished.

    root/sft/stage.json    the stamp       root/sft/attempt.json   key of an attempt in progress
    root/sft/model/...     an output       root/logs/sft.log       what it printed

This file decides what is stale; `runner.py` runs it.
"""

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAMP_FILE = "stage.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """The output `output` of stage `stage`, as an input of a later stage."""

    stage: str
    output: str


Input = Artifact | Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a plan.

    Example: `Stage(name="sft", meaning="imitate the demonstrations",
    function="understudy.loop.stages.train_sft:sft", outputs=("model",),
    inputs={"data": labels.output("demonstrations.jsonl")})`.
    """

    name: str
    """Unique in the plan; also the name of its folder."""
    meaning: str
    """One line about its work, for the progress display."""
    function: str
    """`module:function`, called with a `StageCall`."""
    inputs: Mapping[str, Input | tuple[Input, ...]] = field(default_factory=dict)
    """Artifacts of earlier stages, or files and folders from outside the plan."""
    outputs: tuple[str, ...]
    """Files and folders that it writes, relative to its own folder."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings, as JSON values."""
    seconds: float = 10.0
    """Expected duration, for the first estimate of the time left."""
    threads: int = 1
    """Threads that it computes with, the same on every machine: sums depend on their number."""
    group: str = ""
    """Shards of one step share a group: one row in the display, one entry in `minutes`."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"stage {self.name!r} has {self.threads} threads; it needs at least 1")
        object.__setattr__(self, "config", json.loads(json.dumps(dict(self.config))))

    @property
    def row(self) -> str:
        """Its row in the display."""
        return self.group or self.name

    def output(self, name: str) -> Artifact:
        """Its output `name`, as an input of a later stage."""
        assert name in self.outputs, f"stage {self.name} has no output {name!r}"
        return Artifact(stage=self.name, output=name)

    def input_lists(self) -> dict[str, tuple[Input, ...]]:
        """Every input as a tuple."""
        return {k: v if isinstance(v, tuple) else (v,) for k, v in self.inputs.items()}

    def needs(self) -> set[str]:
        """Names of the stages whose outputs it reads."""
        inputs = (i for paths in self.input_lists().values() for i in paths)
        return {i.stage for i in inputs if isinstance(i, Artifact)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in a valid order; each reads from earlier ones only."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        outputs: dict[str, tuple[str, ...]] = {}
        for stage in self.stages:
            if stage.name in outputs:
                raise ValueError(f"two stages are called {stage.name!r}; names must be unique")
            for inputs in stage.input_lists().values():
                for i in inputs:
                    if isinstance(i, Artifact) and i.output not in outputs.get(i.stage, ()):
                        raise ValueError(
                            f"stage {stage.name!r} reads {i.output!r} of {i.stage!r}, "
                            "which no earlier stage writes"
                        )
            outputs[stage.name] = stage.outputs

    def __getitem__(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def readers(self, name: str) -> list[Stage]:
        """The stages that read an output of stage `name`."""
        return [stage for stage in self.stages if name in stage.needs()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """The record that a finished stage leaves beside its outputs."""

    key: str
    outputs: Mapping[str, str]
    """Content hash of each output."""
    inputs: Mapping[str, Sequence[str]]
    """Content hashes of each input when it ran, to report later what changed."""
    config: Mapping[str, Any]
    code: str
    """Hash of the code when it ran."""
    started: float
    """Seconds since the epoch."""
    seconds: float
    """How long it ran, including the time before interruptions."""

    def write(self, folder: Path) -> None:
        """Write `folder`/stage.json atomically."""
        row = {name: getattr(self, name) for name in self.__slots__}
        temporary = folder / f".{STAMP_FILE}"
        temporary.write_text(json.dumps(row, indent=1, sort_keys=True))
        temporary.replace(folder / STAMP_FILE)


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp in `folder`; None if it is missing or unreadable."""
    try:
        return Stamp(**json.loads((folder / STAMP_FILE).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


# Hashes


def hash_json(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """sha256 of a file's bytes, or of the names and bytes of all files in a folder."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return hash_json([[p.relative_to(path).as_posix(), hash_path(p)] for p in files])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_code(function: str) -> str:
    """Hash of the module of `function` ("module:function") and of what it imports from its package.

    Comments, docstrings and layout do not count: editing a comment reruns nothing.
    """
    sources = _import_closure(function.partition(":")[0])
    return hash_json({name: _tree_hash(name, path) for name, path in sorted(sources.items())})


def _import_closure(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    to_visit = [module]
    while to_visit:
        name = to_visit.pop()
        path = None if name in found else _source_of(name)
        if path is not None:
            found[name] = path
            to_visit += _read_source(name, path, path.stat().st_mtime_ns)[1]
    return found


def _tree_hash(name: str, path: Path) -> str:
    return _read_source(name, path, path.stat().st_mtime_ns)[0]


@functools.lru_cache(maxsize=1024)
def _read_source(name: str, path: Path, _modified: int) -> tuple[str, tuple[str, ...]]:
    """(hash of the syntax tree without docstrings, modules imported from the same top package)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not _is_text(n)]
    hash_ = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return hash_, tuple(_own_imports(name, tree, is_package=path.name == "__init__.py"))


def _own_imports(module: str, tree: ast.Module, *, is_package: bool) -> list[str]:
    """Modules (and names in them) that `module` imports from its own top package, anywhere in the
    file."""
    top = module.partition(".")[0]
    package = module if is_package else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = (parents if node.level else []) + ([node.module] if node.module else [])
            names += [".".join([*parts, alias.name]) for alias in node.names] + [".".join(parts)]
    parts_of = {tuple(name.split(".")) for name in names if name.partition(".")[0] == top}
    return sorted({".".join(parts[:n]) for parts in parts_of for n in range(1, len(parts) + 1)})


@functools.cache
def _source_of(module: str) -> Path | None:
    """The file of a module, found without importing it; None if there is no such module."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    if not spec.submodule_search_locations:
        return None
    stem = Path(spec.submodule_search_locations[0], *rest)
    places = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((place for place in places if place.is_file()), None)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


# What is stale


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Whether a stage has to run, and why."""

    stage: str
    key: str | None
    """None while an input is missing."""
    fresh: bool
    reason: str
    """The reason as text: "settings changed: lr 0.001 -> 0.002"; empty when fresh."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    code: str = ""


def check_stage(stage: Stage, root: Path, finished: Mapping[str, Stamp]) -> Check:
    """Compare a stage with its stamp; `finished` has the stamps of the stages before it."""
    inputs = {name: _input_hashes(stage, name, finished) for name in stage.inputs}
    code = hash_code(stage.function)
    key = hash_json(
        {
            "function": stage.function,
            "config": stage.config,
            "inputs": inputs,
            "code": code,
            "outputs": list(stage.outputs),
            "threads": stage.threads,
        }
    )
    stamp = read_stamp(root / stage.name)
    reason = _why_stale(stage, root / stage.name, stamp, key=key, inputs=inputs, code=code)
    return Check(
        stage=stage.name, key=key, fresh=not reason, reason=reason, inputs=inputs, code=code
    )


def check_plan(plan: Plan, root: Path) -> list[Check]:
    """Check every stage without running any; readers of a stale stage "wait for" it."""
    finished: dict[str, Stamp] = {}
    checks: list[Check] = []
    for stage in plan.stages:
        waits_for = sorted(stage.needs() - finished.keys())
        if waits_for:
            reason = f"waits for {', '.join(waits_for)}"
            checks.append(Check(stage=stage.name, key=None, fresh=False, reason=reason))
            continue
        check = check_stage(stage, root, finished)
        checks.append(check)
        stamp = read_stamp(root / stage.name)
        if check.fresh and stamp is not None:
            finished[stage.name] = stamp
    return checks


def _input_hashes(stage: Stage, name: str, finished: Mapping[str, Stamp]) -> list[str]:
    hashes = []
    for i in stage.input_lists()[name]:
        if isinstance(i, Artifact):
            hashes.append(finished[i.stage].outputs[i.output])
        elif i.exists():
            hashes.append(hash_path(i))
        else:
            raise ValueError(f"stage {stage.name!r} needs {i}, which does not exist")
    return hashes


def _why_stale(
    stage: Stage,
    folder: Path,
    stamp: Stamp | None,
    *,
    key: str,
    inputs: Mapping[str, Sequence[str]],
    code: str,
) -> str:
    if stamp is None:
        return "not done yet"
    if stamp.key != key:
        return _difference(stage, stamp, inputs, code)
    for name, hash_ in stamp.outputs.items():
        if not (folder / name).exists():
            return f"its output {name} is gone"
        if hash_path(folder / name) != hash_:
            return f"its output {name} was changed"
    return ""


def _difference(stage: Stage, stamp: Stamp, inputs: Mapping[str, Sequence[str]], code: str) -> str:
    reasons = []
    old, new = _flat(stamp.config), _flat(stage.config)
    changed = [
        f"{k} {old.get(k)!r} -> {new.get(k)!r}"
        for k in sorted({*old, *new})
        if old.get(k) != new.get(k)
    ]
    if changed:
        reasons.append(f"settings changed: {_first_few(changed)}")
    names = [n for n in inputs if list(stamp.inputs.get(n, ())) != list(inputs[n])]
    if names:
        reasons.append(f"inputs changed: {_first_few(names)}")
    if stamp.code != code:
        reasons.append("code changed")
    return "; ".join(reasons) or "the plan changed"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as a flat mapping with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _first_few(items: Sequence[str], number: int = 3) -> str:
    more = f" and {len(items) - number} more" if len(items) > number else ""
    return ", ".join(items[:number]) + more


# Order and time


def priorities(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds from each stage's start to the plan's end along the longest path.

    The stage with the most seconds should start first.
    """
    longest: dict[str, float] = {}
    for stage in reversed(plan.stages):
        after = max((longest[reader.name] for reader in plan.readers(stage.name)), default=0.0)
        longest[stage.name] = seconds[stage.name] + after
    return longest


def fitting(ready: Sequence[Stage], running: Sequence[Stage], workers: int) -> list[Stage]:
    """The ready stages, in their order, that may start on `workers` cores now.

    A stage that needs more threads than there are free cores waits, and so do the stages after it,
    which would otherwise delay it further. If nothing is running, any stage may start.
    """
    free = workers - sum(stage.threads for stage in running)
    found: list[Stage] = []
    for stage in ready:
        if stage.threads > free and (running or found):
            break
        found.append(stage)
        free -= stage.threads
    return found


def seconds_left(
    plan: Plan,
    *,
    left: Mapping[str, float],
    running: Iterable[str],
    priority: Mapping[str, float],
    workers: int,
) -> float:
    """Simulate the rest of the plan; `left` has the seconds that each unfinished stage needs."""
    clock = 0.0
    ends = {name: left[name] for name in running}
    waiting = [s for s in plan.stages if s.name in left and s.name not in ends]
    while ends or waiting:
        unfinished = {*ends, *(s.name for s in waiting)}
        ready = [s for s in waiting if not (s.needs() & unfinished)]
        ready.sort(key=lambda s: -priority[s.name])
        for stage in fitting(ready, [plan[name] for name in ends], workers):
            ends[stage.name] = clock + left[stage.name]
            waiting.remove(stage)
        assert ends, "a stage waits for one that never ends"
        first = min(ends, key=lambda name: ends[name])
        clock = max(clock, ends.pop(first))
    return clock
