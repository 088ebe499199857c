"""`understudy text pack`: the same rows as from the text itself, and what kills, another tokenizer
and used folders do."""

import gzip
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.fixtures_models import save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.cli import main
from understudy.loop.text_pack import PackConfig, pack_text
from understudy.models.policies import load_policy
from understudy.models.text import open_rows
from understudy.ppo.train import train_ppo
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines

DOCUMENTS = ["The cat sat.", "A dog<eos>ran to <pad> the house", "naïve 漢字", "x" * 500]


@pytest.fixture
def model(tmp_path):
    return str(save_model_folder(tmp_path / "model"))


@pytest.fixture
def files(tmp_path):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS * 3)
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "two.txt").write_text("First.\n\n\nSecond, and\nits second line.\n")
    return tmp_path / "one.jsonl.gz", tmp_path / "two.txt"


def rows_of(path, model, length):
    policy, tokenizer = load_policy(model)
    rows = open_rows(path, tokenizer, policy, length)
    return rows.take(range(len(rows))).tolist()


@pytest.mark.parametrize("length", [5, 32, 10**6])
def test_rows_are_those_of_the_text(tmp_path, model, files, length):
    for number, file in enumerate(files):
        out = tmp_path / f"packed-{number}"
        pack_text(PackConfig(files=(file,), model=model, out=out))
        assert rows_of(out, model, length) == rows_of(file, model, length)
        assert sorted(path.name for path in out.iterdir()) == ["tokens.bin", "tokens.json"]


def test_files_follow_each_other_and_the_manifest_says_what_they_were(
    tmp_path, model, files, capsys
):
    out = tmp_path / "packed"
    words = ["text", "pack", *map(str, files), "--model", model, "--out", str(out)]
    assert main(words) == 0
    facts = json.loads((out / "tokens.json").read_text())
    assert facts["documents"] == 14
    assert facts["dtype"] == "<u2"
    assert [one["path"] for one in facts["inputs"]] == list(map(str, files))
    ids = np.fromfile(out / "tokens.bin", "<u2")
    assert len(ids) == facts["tokens"] > 600
    parts = [np.array(rows_of(file, model, 10**6)[0]) for file in files]
    short = [part[:length] for part in parts for length in [64]]  # the context of the model
    assert ids[:64].tolist() == short[0].tolist()
    assert main(["data", "check", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{facts['tokens']:,} tokens of 14 documents" in said.out
    assert "Packing 14/14" in said.err
    assert "left" in said.err


def test_a_used_folder_and_bad_text_are_refused_before_anything_is_written(
    tmp_path, model, files, capsys
):
    out = tmp_path / "packed"

    def refused(*words, out=out):
        assert main(["text", "pack", *map(str, words), "--model", model, "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        return line

    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "good"}\n{"txt": "b"}\n')
    assert "line 2: field 'text' is missing" in refused(files[1], bad)
    assert "does not exist" in refused(tmp_path / "none.txt")
    assert not out.exists()
    assert "is not empty (it has bad.jsonl)" in refused(files[0], out=tmp_path)
    assert "is a file" in refused(files[0], out=bad)
    pack_text(PackConfig(files=files, model=model, out=out))
    assert "already holds packed text" in refused(*files)
    assert main(["data", "convert", str(out), "--out", str(tmp_path / "a.jsonl")]) == 2
    assert "is packed text, which only --pretrain-data" in capsys.readouterr().err


def test_damage_and_another_tokenizer_are_refused(tmp_path, model, files, capsys):
    out = tmp_path / "packed"
    pack_text(PackConfig(files=files, model=model, out=out))
    world = write_world(tmp_path / "world")
    policy, tokenizer = load_policy(world["model"])
    with pytest.raises(
        ValueError, match=r"another tokenizer, that of .*model; pack the text again"
    ):
        open_rows(out, tokenizer, policy, 8)
    with open(out / "tokens.bin", "r+b") as file:
        file.write(b"\xff")
    assert main(["data", "check", str(out)]) == 2
    assert "was changed or is damaged" in capsys.readouterr().err
    os.truncate(out / "tokens.bin", 10)
    with pytest.raises(ValueError, match="has 10 bytes, not"):
        rows_of(out, model, 8)
    (out / "tokens.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged; pack the text again"):
        rows_of(out, model, 8)


KILLED = """
import sys
from pathlib import Path
import understudy.loop.text_pack as pack
import understudy.models.text as text
pack.SAVE_SECONDS = 0
text._CHARACTERS = 60
def first_three(*args, encoded=text.encoded):
    for number, part in enumerate(encoded(*args)):
        if number == 3:
            print("three", flush=True)
            sys.stdin.read()
        yield part
text.encoded = first_three
*files, model, out = sys.argv[1:]
pack.pack_text(pack.PackConfig(files=tuple(map(Path, files)), model=model, out=Path(out)))
"""


def test_a_killed_run_is_continued_to_the_same_bytes(tmp_path, model, files):
    config = PackConfig(files=files, model=model, out=tmp_path / "whole")
    pack_text(config)
    out = tmp_path / "packed"
    words = [sys.executable, "-c", KILLED, *map(str, files), model, str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"three\n"
        process.send_signal(signal.SIGKILL)
    kept = json.loads((out / "partial.json").read_text())["done"]
    assert 0 < kept["documents"] < 14
    with pytest.raises(ValueError, match="is unfinished: run its"):
        rows_of(out, model, 8)
    with open(out / "tokens.bin", "ab") as file:
        file.write(b"after the last save")
    with pytest.raises(ValueError, match="unfinished packed text of other inputs"):
        pack_text(replace(config, out=out, files=files[:1]))
    pack_text(replace(config, out=out))
    for name in ("tokens.bin", "tokens.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (out / "partial.json").exists()


def test_ppo_and_sft_learn_the_same_from_packed_text(tmp_path):
    world = write_world(tmp_path / "world")
    text, packed = world["pretrain_data"], tmp_path / "text"
    pack_text(PackConfig(files=(text,), model=world["model"], out=packed))
    sft = SFTConfig(
        model=world["model"],
        data=tmp_path / "demos.jsonl",
        out=tmp_path,
        pretrain_fraction=0.5,
        pretrain_data=text,
        pretrain_length=6,
        batch_size=2,
        epochs=1,
    )
    sft.data.write_text('{"prompt": "w4", "response": "w5"}\n' * 8)
    for number, source in enumerate((text, packed)):
        train_ppo(tiny_config(world | {"pretrain_data": source}, tmp_path / f"ppo-{number}"))
        train_sft(replace(sft, out=tmp_path / f"sft-{number}", pretrain_data=source))
    for stage in ("ppo", "sft"):
        weights = [tmp_path / f"{stage}-{i}" / "model" / "model.safetensors" for i in range(2)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    record = json.loads((tmp_path / "ppo-1" / "run.json").read_text())
    assert record["inputs"]["pretrain_data"]["packed_from"][0]["path"] == str(text)
    assert read_lines(tmp_path / "ppo-0" / "metrics.jsonl")
