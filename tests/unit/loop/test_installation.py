"""`understudy doctor` without a run: each thing that can be wrong with an installation."""

import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.docs.pages import ROOT

from understudy.cli import main
from understudy.loop import installation
from understudy.loop.installation import EXTRAS, OF_THE_REPOSITORY


def put_distribution(folder: Path, name: str, version: str) -> None:
    """What `importlib.metadata` reads of an installed distribution."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text)


@pytest.fixture
def doctor(capsys) -> Callable[[], tuple[int, str, str]]:
    """Runs `understudy doctor`: exit code, standard output, standard error."""

    def run() -> tuple[int, str, str]:
        code = main(["doctor"])
        return (code, *capsys.readouterr())

    return run


def test_every_line_of_a_whole_installation_has_its_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    names = [line.split()[1] for line in lines]
    everywhere = "python packages torch device threads folder disk browser SQLite"
    assert set(everywhere.split()) <= set(names)
    assert {f"[{extra}]" for extra in EXTRAS} <= set(names)
    assert not list(tmp_path.iterdir())


def test_a_version_that_is_too_old_is_a_problem(tmp_path, monkeypatch, doctor):
    put_distribution(tmp_path, "numpy", "1.0")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = doctor()
    assert code == 2
    assert "numpy is 1.0, which is not >=2" in out
    assert "packages" in err


def test_a_version_that_is_too_old_for_an_extra_is_a_problem(tmp_path, monkeypatch, doctor):
    put_distribution(tmp_path, "peft", "0.1")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = doctor()
    assert code == 2
    assert "peft is 0.1, which is not >=0.18" in out
    assert "[lora]" in err


def test_a_torch_that_cannot_be_imported_is_a_problem(tmp_path, monkeypatch, doctor):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    code, out, _ = doctor()
    assert code == 2
    assert "cannot be imported (libcudart.so is missing)" in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch without CUDA")
def test_a_driver_that_torch_cannot_use_is_a_problem(tmp_path, monkeypatch, doctor):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    code, out, _ = doctor()
    assert code == 2
    assert "cannot use the GPU" in out


def test_the_threads_that_were_asked_for_are_shown(monkeypatch, doctor):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "(OMP_NUM_THREADS=1)" in doctor()[1]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files_is_a_problem(monkeypatch, doctor):
    monkeypatch.chdir("/proc")
    code, out, _ = doctor()
    assert code == 2
    assert "/proc is not writable" in out


def test_a_machine_without_a_browser_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    (check,) = [one for one in installation.machine_checks(tmp_path) if one.name == "browser"]
    assert check.verdict == "note"


def test_a_judge_needs_a_run(capsys):
    assert main(["doctor", "--judge", "somewhere"]) == 2
    assert "judge reads the responses of a ppo, rloo" in capsys.readouterr().err


def test_every_extra_has_a_purpose():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = set(settings["project"]["optional-dependencies"])
    assert extras == {*EXTRAS, *OF_THE_REPOSITORY}
