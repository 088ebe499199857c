"""Whatever a file holds, a command that reads it ends with a result or with one line that says what
is wrong: never with a traceback, and never with an escape sequence on the terminal."""

import csv
import io
import json
import math
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures_models import save_model_folder

from understudy.cli import main

USER, ANSWER = {"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "Oak."}
TREE = {"text": "Hi", "role": "prompter", "message_id": "m", "replies": [
    {"text": "a", "role": "assistant", "rank": 0, "replies": []},
    {"text": "b", "role": "assistant", "rank": 1, "replies": []},
]}  # fmt: skip
GOOD = [
    {"prompt": "Name a tree.", "response": "Oak.", "id": "d1", "split": "train"},
    {"prompt": [USER], "completion": [ANSWER], "label": True},
    {"prompt": "Name a tree.", "response": "Car.", "desirable": False, "labeler_id": "u1"},
    {"messages": [USER, ANSWER, USER, ANSWER], "system": "Be brief.", "tools": []},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {"instruction": "Sort.", "input": "3 1", "output": "1 3", "history": [["a", "b"]]},
    {"Definition": ["Sort."], "Instances": [{"id": "i", "input": "3 1", "output": ["1 3"]}]},
    {"prompt": "x", "responses": ["a", "b", "c"], "tiers": [[0], [1, 2]], "labeler_id": "l"},
    {"prompt": "x", "responses": ["a", "b"], "scores": [1, 2.5]},
    {"prompt": "x", "chosen": "a", "rejected": "b", "margin": 1.0},
    {"chosen": "\n\nHuman: x\n\nAssistant: a", "rejected": "\n\nHuman: x\n\nAssistant: b"},
    {"instruction": "x", "completions": [{"response": "a", "overall_score": 3}] * 2},
    {"message_tree_id": "t", "prompt": TREE},
    {"message_id": "m0", "parent_id": None, "text": "x", "role": "prompter", "rank": None},
    {"prompt": "x", "user_id": 3, "consent": "yes", "created_at": 1772625600, "tags": ["a"]},
    {"kind": "plain", "labeler_id": "l1", "prompt": "Name a prime.", "response": "7"},
    {"text": "Plain text."},
]
KEYS = sorted({key for row in GOOD for key in row} | {"weight", "kto_tag", "images", "x\x1b[2J"})
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 10**400, 1e308, math.nan, math.inf, "", " ", "\x1b[31m", "\ud83d"]),
    st.text(max_size=8),
    st.sampled_from(
        [[], {}, [[]], [None], [{}], [{"role": "user"}], [USER], [[0]], {"a": {"b": 1}}]
    ),
)


def examples(number):
    """The same examples at every run, however long each takes."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
    )


@st.composite
def mutated_rows(draw):
    """A few good rows, in which values are replaced, at any depth, keys added and deleted."""
    rows = [
        json.loads(json.dumps(draw(st.sampled_from(GOOD)))) for _ in range(draw(st.integers(1, 3)))
    ]
    for _ in range(draw(st.integers(0, 3))):
        place = rows
        for _ in range(draw(st.integers(1, 4))):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
            if not inner:
                break
            place = place[draw(st.sampled_from(inner))]
        if isinstance(place, dict):
            key = draw(st.sampled_from([*place, *KEYS]))
            if draw(st.booleans()):
                place[key] = deepcopy(draw(STRANGE))
            else:
                place.pop(key, None)
        else:
            place[draw(st.integers(0, len(place) - 1))] = deepcopy(draw(STRANGE))
    return rows


@st.composite
def mutated_bytes(draw, text):
    """The bytes of a text in some encoding, cut short or with strange ones in the middle."""
    data = draw(text).encode(
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "surrogatepass"
    )
    if draw(st.booleans()):
        return data
    at = draw(st.integers(0, len(data)))
    tail = data[at:] if draw(st.booleans()) else b""
    return data[:at] + draw(st.binary(max_size=4)) + tail


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows):
    """The rows as CSV, the columns of the first."""
    text = io.StringIO(newline="")
    names = list(rows[0]) if isinstance(rows[0], dict) else ["prompt"]
    writer = csv.writer(text, delimiter=";" if len(rows) % 2 else ",")
    writer.writerow(names)
    for row in rows:
        cells = row if isinstance(row, dict) else {}
        writer.writerow(json.dumps(v) if isinstance(v, list | dict) else v for v in cells.values())
    return text.getvalue()


def ends_well(*arguments):
    """The command gives a result, or one line and an exit code that is not 0."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    said = err.getvalue()
    assert code in (0, 1, 2), said
    errors = [line for line in said.splitlines() if line.startswith("understudy: error: ")]
    assert len(errors) == (code != 0), said
    assert "\x1b" not in out.getvalue() + said
    return code


COMMANDS = {
    "data check": ["data", "check", "{data}"],
    "data convert": ["data", "convert", "{data}", "--skip-bad", "--overwrite", "--out", "{out}"],
    "prompts show": ["prompts", "show", "--data", "{data}"],
    "prompts build": ["prompts", "build", "--data", "{data}", "--out", "{out}"],
    "prompts write": ["prompts", "write", "--data", "{data}", "--out", "{out}"],
    "labels agreement": ["labels", "agreement", "--rankings", "{data}"],
}


def filled_in(command, data, folder):
    return [part.format(data=data, out=folder / "out.jsonl") for part in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("suffix", "text"), [(".jsonl", json_lines), (".json", json.dumps)])
def test_json(command, suffix, text, tmp_path):
    @examples(40)
    @given(mutated_bytes(mutated_rows().map(text)))
    def holds(data):
        path = tmp_path / f"data{suffix}"
        path.write_bytes(data)
        ends_well(*filled_in(command, path, tmp_path))

    holds()


@pytest.mark.parametrize("command", COMMANDS)
def test_csv(command, tmp_path):
    @examples(40)
    @given(mutated_bytes(mutated_rows().map(table)))
    def holds(data):
        path = tmp_path / "data.csv"
        path.write_bytes(data)
        ends_well(*filled_in(command, path, tmp_path))

    holds()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".parquet", ".txt", ""])
def test_bytes_that_are_no_such_file(suffix, tmp_path):
    @examples(30)
    @given(st.binary(max_size=40))
    def holds(data):
        path = tmp_path / f"data.jsonl{suffix}"
        path.write_bytes(data)
        ends_well(*filled_in("data check", path, tmp_path))

    holds()


def test_records_with_a_tokenizer(tmp_path):
    model = save_model_folder(tmp_path / "model")

    @examples(40)
    @given(mutated_rows())
    def holds(rows):
        path = tmp_path / "data.jsonl"
        path.write_text(json_lines(rows))
        ends_well("data", "check", path, "--model", model, "--color", "never")

    holds()
