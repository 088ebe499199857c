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


def test_the_lock_file_pins_every_dependency_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text, "pins only, no addresses"
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all(re.match(r"[\w.-]+==[\w.]+( ; [^\n]+)? \\\n", entry) for entry in entries)
    assert all("--hash=sha256:" in entry for entry in entries)
    pinned = {_canonical(entry.partition("==")[0]) for entry in entries}
    lines = [line for extra in project["optional-dependencies"].values() for line in extra]
    asked = [*project["dependencies"], *(x for x in lines if not x.startswith("understudy["))]
    assert {_canonical(re.match(r"[\w.-]+", line)[0]) for line in asked} <= {*pinned, "torch"}


def test_one_version_of_torch_is_pinned() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (torch,) = settings["tool"]["uv"]["dependency-metadata"]
    assert f"TORCH := torch=={torch['version']}\n" in (ROOT / "Makefile").read_text()


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
