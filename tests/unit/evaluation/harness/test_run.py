"""The command end to end on tiny models: every item kept, resumed per pair, bad input in a line."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures_models import save_model_folder

from understudy.evaluation.harness.config import BenchmarkConfig
from understudy.evaluation.harness.run import benchmark, check_installed
from understudy.loop.report import ReportConfig, write_run_report
from understudy.training.folder import read_record

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="the extra 'benchmarks' is not installed",
)
TASKS = ("paper_sst", "paper_winogender", "paper_wmt15_fr_en", "truthfulqa_mc1")


def _put(folder, name, rows):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def config(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    _put(data, "sst", [{"sentence": f"a cat {i} ", "label": i % 2} for i in range(7)])
    genders = ("male", "female")
    _put(
        data,
        "winogender",
        [
            {"sentid": f"baker.guest.{i}.{g}.txt", "sentence": f"The cat {g} {i}"}
            | {"participant": "guest", "gender": g, "occupation": "baker"}
            for i in range(3)
            for g in genders
        ],
    )
    _put(data, "wmt15_fr_en", [{"translation": {"fr": f"le chat {i}", "en": f"the cat {i}"}}
                               for i in range(3)])  # fmt: skip
    targets = {"choices": ["No it does not", "Yes"], "labels": [1, 0]}
    _put(data, "truthfulqa_mc", [{"question": "Does it?", "mc1_targets": targets}] * 3)
    base, sft = (save_model_folder(tmp_path / kind, kind) for kind in ("gpt2", "llama"))
    return BenchmarkConfig(
        models=(f"base={base}", f"sft={sft}"), tasks=TASKS, data_dir=data, limit=3,
        out=tmp_path / "run", device="cpu",
    )  # fmt: skip


@needs_harness
def test_every_pair_is_run_kept_and_shown(config):
    out = benchmark(config)
    found = json.loads((out / "results.json").read_text())["benchmark"]
    assert [line["name"] for line in found["tasks"]] == list(TASKS)
    sst = found["tasks"][0]
    assert sst["rule"] == "highest log-probability per token"
    assert sst["paper"] == {"base": 0.898, "sft": 0.907, "ppo": 0.920, "ppo_ptx": 0.900}
    rows = [json.loads(x) for x in (out / "items/sft/paper_sst.jsonl").read_text().splitlines()]
    assert [row["item"] for row in rows] == [0, 2, 4]  # evenly spaced
    assert sst["models"]["sft"]["mean"] == sum(
        row["pick"]["token"] == row["target"] for row in rows
    ) / len(rows)
    base = [json.loads(x) for x in (out / "items/base/paper_sst.jsonl").read_text().splitlines()]
    gap = [
        a["values"]["acc_token"] - b["values"]["acc_token"] for a, b in zip(rows, base, strict=True)
    ]
    assert sst["models"]["sft"]["difference"]["mean"] == pytest.approx(sum(gap) / 3)
    page = (out / "report.html").read_text()
    assert "SST, accuracy, n = 3" in page
    assert "highest log-probability per token" in page

    # A pair whose end is not on disk is run again, no other.
    before = (out / "results.json").read_text()
    (out / "items/sft/paper_wmt15_fr_en.json").unlink()
    kept = (out / "items/base/paper_sst.jsonl").stat().st_mtime_ns
    benchmark(replace(config, resume=True))
    assert (out / "items/base/paper_sst.jsonl").stat().st_mtime_ns == kept
    assert (out / "results.json").read_text() == before
    assert read_record(out)["status"] == "done"

    # Another run's report can show the table.
    other = out.parent / "evaluation"
    other.mkdir()
    (other / "results.json").write_text("{}")
    report = write_run_report(ReportConfig(run=other, benchmark=out))
    assert "SST, accuracy, n = 3" in report.read_text()


@needs_harness
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("paper_sst", "paper_rte"), "data_dir": None}, "data-dir"),
        ({"data_dir": "none"}, "is not a folder"),
        ({"models": ("base=nowhere/at/all",)}, "does not exist"),
    ],
)
def test_bad_input_is_a_line_and_takes_no_folder(config, changes, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    if changes.get("data_dir"):
        changes = {**changes, "data_dir": Path(changes["data_dir"])}
    with pytest.raises(ValueError, match=message):
        benchmark(replace(config, **changes))
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("base",)}, "name=folder"),
        ({"baseline": "ppo"}, "not among the models"),
        ({"tasks": ()}, "tasks is empty"),
        ({"limit": 0}, "limit is 0"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, changes, message):
    given = {"models": ("base=x",), "out": tmp_path, **changes}
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig(**given)


def test_without_the_extra_there_is_a_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"understudy\[benchmarks\]"):
        check_installed()
