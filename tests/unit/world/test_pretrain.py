"""Pretraining takes a folder only once its input is read."""

from pathlib import Path

import pytest
from tests.fixtures_models import save_model_folder

from understudy.world.pretrain import pretrain
from understudy.world.pretrain_config import PretrainConfig


def test_wrong_input_takes_no_folder_and_costs_no_run(tmp_path: Path) -> None:
    out = tmp_path / "base"
    other = save_model_folder(tmp_path / "other")
    for start, problem in ((tmp_path / "no", "does not exist"), (other, "lacks <")):
        with pytest.raises(ValueError, match=problem):
            pretrain(PretrainConfig(out=out, size="200k", tokens=5000, start_from=start))
    assert not out.exists()
    out.mkdir()
    (out / "run.json").write_text('{"stage": "pretrain", "status": "done", "config": {}}')
    (out / "results.json").write_text("{}")
    config = PretrainConfig(out=out, size="200k", tokens=5000, start_from=other, overwrite=True)
    with pytest.raises(ValueError, match="lacks <"):
        pretrain(config)
    assert (out / "results.json").exists()
