"""The same of model folders, of trainers that meet strange records, and of benchmark files."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures_models import save_model_folder
from tests.invariants.test_no_traceback import (
    STRANGE,
    USER,
    ends_well,
    examples,
    json_lines,
    mutated_rows,
)

SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
SMALL = ("--max-prompt-tokens", "24", "--max-response-tokens", "8")
ITEMS = [
    {"prompt": "Name a tree.", "choices": ["Oak", "Car"], "answer": 0},
    {"prompt": "Two and two?", "answers": ["four", "4"]},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model_folder(tmp_path_factory.mktemp("model") / "model")


@st.composite
def damage(draw, files):
    """(file, what it becomes): removed, cut short, other bytes, or a JSON value replaced."""
    path = draw(st.sampled_from(files))
    data = path.read_bytes()
    kind = draw(st.sampled_from(["removed", "cut", "bytes", "value"]))
    if kind == "removed":
        return path, None
    if kind == "value" and path.name in SETTINGS:
        whole = json.loads(data)
        place = whole
        for _ in range(draw(st.integers(0, 2))):
            inner = [key for key, value in place.items() if isinstance(value, dict) and value]
            if not inner:
                break
            place = place[draw(st.sampled_from(inner))]
        place[draw(st.sampled_from(sorted(place)))] = draw(STRANGE)
        return path, json.dumps(whole).encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, min(len(data), 2000)))
    return path, data[:at] + (b"" if kind == "cut" else draw(st.binary(max_size=4)) + data[at:])


@pytest.mark.thorough
def test_damaged_model_folders(model, tmp_path):
    files = sorted(path for path in model.iterdir() if path.is_file())
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json_lines([{"prompt": [USER]}]))

    @examples(60)
    @given(damage(files))
    def holds(found):
        path, data = found
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(model, copy)
        (copy / path.name).unlink()
        if data is not None:
            (copy / path.name).write_bytes(data)
        out = tmp_path / "out.jsonl"
        out.unlink(missing_ok=True)
        ends_well(
            "sample", "--model", copy, "--prompts", prompts, "--out", out,
            "--max-response-tokens", 4,
        )  # fmt: skip

    holds()


TRAINERS = {
    "sft": ("--model", "{model}", "--data", "{data}", "--epochs", 1, *SMALL),
    "reward": ("--model", "{model}", "--data", "{data}", *SMALL),
    "dpo": ("--model", "{model}", "--data", "{data}", *SMALL),
    "kto": ("--model", "{model}", "--data", "{data}", *SMALL),
    "evaluate": ("--models", "a={model}", "b={model}", "--prompts", "{data}",
                 "--max-response-tokens", 4),
}  # fmt: skip


@pytest.mark.parametrize(
    "command",
    ["sft", *(pytest.param(c, marks=pytest.mark.thorough) for c in TRAINERS if c != "sft")],
)
def test_trainers_on_strange_records(command, model, tmp_path):
    @examples(25)
    @given(mutated_rows())
    def holds(rows):
        data = tmp_path / "data.jsonl"
        data.write_text(json_lines(rows))
        filled = [str(part).format(model=model, data=data) for part in TRAINERS[command]]
        ends_well(command, *filled, "--out", tmp_path / "out", "--overwrite")

    holds()


def test_strange_benchmarks(model, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json_lines([{"prompt": [USER]}]))

    @examples(30)
    @given(st.sampled_from(ITEMS), st.data())
    def holds(item, data):
        row = dict(item)
        key = data.draw(st.sampled_from([*row, "images"]))
        row[key] = data.draw(STRANGE)
        path = tmp_path / "items.jsonl"
        path.write_text(json_lines([item, row]))
        ends_well(
            "evaluate", "--models", f"a={model}", f"b={model}", "--prompts", prompts,
            "--benchmarks", path, "--max-response-tokens", 4, "--out", tmp_path / "out",
            "--overwrite",
        )  # fmt: skip

    holds()
