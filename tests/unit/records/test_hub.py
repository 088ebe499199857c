"""Data sets by name: which sources are one, and what is said without the package."""

import os
import subprocess
import sys

import pytest

from understudy.records import Demonstration, RecordError, read_records
from understudy.records.hub import is_dataset
from understudy.training.origin import describe_input


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/name", True),
        ("org/name@config#train[:10]", True),
        ("demos.jsonl", False),
        ("data/demos.parquet", False),
        ("./org/name", False),
        ("/org/name", False),
        ("name", False),
    ],
)
def test_what_is_a_name(source, expected):
    assert is_dataset(source) is expected


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(RecordError, match=r"pip install 'understudy\[datasets\]'"):
        read_records("org/name", Demonstration)


def test_a_saved_data_set_is_read_and_hashed(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"prompt": "x", "completion": "y"}] * 3)
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk(str(tmp_path / "d"))
    assert len(read_records(tmp_path / "d", Demonstration)) == 3
    assert len(read_records(tmp_path / "d#test", Demonstration)) == 1
    assert describe_input(tmp_path / "d#test")["sha256"]
    with pytest.raises(RecordError, match="split valid"):
        read_records(tmp_path / "d#valid", Demonstration)


@pytest.mark.thorough
def test_a_hub_that_cannot_be_reached_is_asked_once_and_said_in_a_line(tmp_path):
    """In a process of its own: where the hub is, is read when the package is imported."""
    pytest.importorskip("datasets")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "understudy.cli", "data", "check", "org/name"]
    done = subprocess.run(
        command, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "understudy: error: data set org/name (split train) cannot be read: "
        "the hub cannot be reached, and there is no local copy"
    ]
