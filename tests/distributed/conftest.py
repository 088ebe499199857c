import json
import sys
from pathlib import Path

import pytest
from tests.distributed import cases
from tests.distributed.checkpoint_worker import write_as_one
from tests.distributed.torchrun import Job
from tests.fixtures_data import write_demonstrations
from tests.fixtures_models import save_model_folder


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """The folder in which two ranks have done all that the quick tests ask about."""
    folder = tmp_path_factory.mktemp("distributed")
    for name in (
        *("ranks", "sharding", "sharding-tensor", "loading", "loading-tensor", "replica"),
        *("checkpoint", "trainers", "ends"),
    ):
        (folder / name).mkdir()
    (folder / "one.json").write_text(json.dumps(write_as_one(folder / "checkpoint")))
    cases.prepare(folder / "trainers", cases.FEW | cases.TENSOR)
    save_model_folder(folder / "ends" / "base")
    write_demonstrations(folder / "ends" / "demos.jsonl")
    worker = Path(__file__).with_name("quick_worker.py")
    ended = Job([sys.executable, str(worker), str(folder)], 1800).wait()
    assert ended.code == 0, ended.stderr
    return folder
