"""The wheel holds what the package reads at run time; the torch-free packages stay so."""

import re
import subprocess
import sys
import tomllib

import pytest
from hatchling.builders.wheel import WheelBuilder
from tests.docs.pages import ROOT, tracked_files


def test_the_wheel_holds_every_tracked_file_of_the_package() -> None:
    builder = WheelBuilder(str(ROOT))
    packed = {file.relative_path for file in builder.recurse_included_files()}
    ours = (file for file in tracked_files() if file.parts[:2] == ("src", "understudy"))
    wanted = {file.as_posix() for file in ours}
    assert wanted <= packed
    assert {name.rsplit(".")[-1] for name in packed} >= {"py", "toml", "safetensors"}


def test_the_lock_files_pin_every_dependency_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for file in ROOT.glob("requirements*.lock") for line in file.read_text().split()]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "pins only, no addresses"
    pinned = {_canonical(line.partition("==")[0]) for line in lines}
    lines = [line for extra in project["optional-dependencies"].values() for line in extra]
    asked = [*project["dependencies"], *(x for x in lines if not x.startswith("understudy["))]
    assert {_canonical(re.match(r"[\w.-]+", line)[0]) for line in asked} <= pinned


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("package", ["records", "store", "web", "prompts", "labeling"])
def test_no_torch_where_peoples_data_is_handled(package: str) -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        f"root = importlib.import_module('understudy.{package}')\n"
        "for module in pkgutil.walk_packages(root.__path__, root.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
