"""`understudy doctor` without a run: features of this installation, and its problems.

It needs only the standard library and `packaging`, so it also runs where other packages are
missing or broken.
"""

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

EXTRAS: dict[str, str] = {
    "train": "all trainers, `sample`, `evaluate`, `demo`, serving a model folder",
    "label": "the labelers' pages: `label`; `board`",
    "serve": "the gateway: `serve`",
    "parquet": "records in Parquet files",
    "datasets": "data sets by their name on the Hugging Face hub",
    "lora": "LoRA adapters: `--lora-rank`",
    "tensorboard": "curves in TensorBoard: `--tensorboard`",
    "track": "curves in MLflow: `--track mlflow`",
    "postgresql": "a store in PostgreSQL",
    "presidio": "names and places in prompts: `--presidio-model`",
    "benchmarks": "the paper's public benchmarks: `benchmark`",
    "real": "SmolLM2's package: `real`",
}
"""Purpose of each extra; docs/index.md has the same table."""
OF_THE_REPOSITORY = {"all", "dev", "docs"}
"""Extras that add no feature of their own."""
ROOM = 5 * 2**30
"""Bytes of free disk below which a note appears: a run of 135M parameters with checkpoints."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox", "microsoft-edge")

Verdict = Literal["ok", "note", "PROBLEM"]


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the page: `Check("disk", "ok", "120 GiB free in .")`."""

    name: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        return f"  {self.verdict:<8}{self.name:<15}{self.text}"


def check_installation(folder: Path) -> str:
    """Every check, a line each; `folder` is the place for runs.

    Prints the lines and raises ValueError if one of them is a problem.
    """
    checks = [*package_checks(), *torch_checks(), *machine_checks(folder)]
    page = "\n".join([f"understudy {_version('understudy') or 'from source'}", *map(str, checks)])
    problems = [check.name for check in checks if check.verdict == "PROBLEM"]
    if not problems:
        return page
    print(page)
    raise ValueError(f"the installation has problems: {', '.join(problems)}; see the lines above")


def package_checks() -> Iterator[Check]:
    """Python, this package's own requirements, and each extra."""
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        wanted = metadata("understudy")["Requires-Python"] or ""
        needed = [Requirement(text) for text in requires("understudy") or ()]
    except PackageNotFoundError:
        yield Check("python", "ok", python)
        yield Check("packages", "note", "not checked: understudy itself is not installed by pip")
        return
    good = SpecifierSet(wanted).contains(python, prereleases=True)
    yield Check("python", "ok" if good else "PROBLEM", f"{python} (needs {wanted})")
    faults = [fault for one in needed if _wanted(one, "") for fault in _faults(one)]
    text = "; ".join(faults) + ": pip install --upgrade understudy" if faults else "as needed"
    yield Check("packages", "PROBLEM" if faults else "ok", text)
    for extra, purpose in EXTRAS.items():
        yield _extra(extra, purpose.replace("`", ""), [r for r in needed if _wanted(r, extra)])


def torch_checks() -> Iterator[Check]:
    """torch, its device, and its number of threads."""
    found = _version("torch")
    if found is None:
        yield Check("torch", "note", "not installed: pip install 'understudy[train]'")
        return
    try:
        torch = import_module("torch")
    except Exception as error:
        reason = str(error).splitlines()[0]
        yield Check("torch", "PROBLEM", f"{found} cannot be imported ({reason}); reinstall it")
        return
    yield Check("torch", "ok", found)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            text = f"cuda:{number} {facts.name}, {facts.total_memory / 2**30:.0f} GiB, {bf16}"
            yield Check("device", "ok", text)
    elif shutil.which("nvidia-smi"):
        built = torch.version.cuda or "the CPU"
        text = f"there is an NVIDIA driver, but this torch (built for {built}) cannot use the GPU"
        yield Check("device", "PROBLEM", f"{text}; install the build of torch for your CUDA")
    else:
        yield Check("device", "ok", "cpu (no GPU found)")
    yield _threads(torch.get_num_threads())


def machine_checks(folder: Path) -> Iterator[Check]:
    """The folder, the disk, a browser, the databases."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Check("folder", "ok", f"{folder.resolve()} is writable")
    except OSError as error:
        yield Check("folder", "PROBLEM", f"{folder.resolve()} is not writable ({error.strerror})")
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free"
    advice = "; checkpoints of larger models need more" if free < ROOM else ""
    yield Check("disk", "note" if advice else "ok", text + advice)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None and sys.platform == "darwin":
        browser = "Safari"
    advice = "none found: open reports and the labelers' pages from another machine"
    yield Check("browser", "ok" if browser else "note", browser or advice)
    yield Check("SQLite", "ok", sqlite3.sqlite_version)
    if _version("psycopg") is not None:
        yield _postgresql()


def _threads(used: int) -> Check:
    """torch uses OMP_NUM_THREADS threads, or one per core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = os.environ.get("OMP_NUM_THREADS")
    text = f"{used} of {cores} cores" + (f" (OMP_NUM_THREADS={setting})" if setting else "")
    return Check("threads", "ok", text)


def _postgresql() -> Check:
    try:
        implementation = import_module("psycopg").pq.__impl__
    except Exception as error:
        reason = str(error).splitlines()[0]
        advice = "pip install 'understudy[postgresql]'"
        return Check("PostgreSQL", "PROBLEM", f"psycopg cannot be imported ({reason}): {advice}")
    return Check("PostgreSQL", "ok", f"psycopg {_version('psycopg')} ({implementation})")


def _extra(name: str, purpose: str, needed: list[Requirement]) -> Check:
    """ok, a note if packages are missing, or a problem if one has a wrong version."""
    missing = [one.name for one in needed if _version(one.name) is None]
    if missing:
        advice = f"pip install 'understudy[{name}]'"
        return Check(f"[{name}]", "note", f"{purpose}; lacks {', '.join(missing)}: {advice}")
    faults = [fault for one in needed for fault in _faults(one)]
    text = f"{purpose}; {'; '.join(faults)}" if faults else purpose
    return Check(f"[{name}]", "PROBLEM" if faults else "ok", text)


def _wanted(requirement: Requirement, extra: str) -> bool:
    """Whether the base installation ("") or an extra adds this requirement, on this machine."""
    marker = requirement.marker
    if not extra:
        return marker is None or marker.evaluate({"extra": ""})
    return marker is not None and marker.evaluate({"extra": extra}) and not _wanted(requirement, "")


def _faults(requirement: Requirement) -> list[str]:
    """The fault of the installed version, in a list of at most one sentence."""
    found = _version(requirement.name)
    if found is None:
        return [f"{requirement.name} is missing"]
    if not requirement.specifier.contains(found, prereleases=True):
        return [f"{requirement.name} is {found}, which is not {requirement.specifier}"]
    return []


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
