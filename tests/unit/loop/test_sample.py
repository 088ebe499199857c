"""`understudy sample` on files: what is left out, what is said."""

import json
import subprocess
import sys

import pytest
import torch
from tests.fixtures_models import save_model_folder
from tests.fixtures_tokenizers import KINDS

from understudy.cli import main
from understudy.models.chat import stop_ids


@pytest.fixture
def folder(tmp_path):
    """A model that often ends its turn with another token than its tokenizer's EOS."""
    tokenizer = KINDS["turn_end_is_not_eos"]()
    folder = save_model_folder(
        tmp_path / "m", tokenizer=tokenizer, vocab_size=len(tokenizer), max_position_embeddings=128
    )
    return folder


def sample(folder, tmp_path, prompts, *options):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    out = tmp_path / "r.jsonl"
    files = ["--model", str(folder), "--prompts", str(tmp_path / "p.jsonl"), "--out", str(out)]
    code = main(["sample", *files, "--overwrite", "--device", "cpu", *options])
    return code, [
        json.loads(line) for line in out.read_text().split("\n") if line
    ] if not code else []


def test_answers_end_at_the_templates_turn_end_and_do_not_hold_it(folder, tmp_path):
    from understudy.models.policies import load_policy

    model, tokenizer = load_policy(folder)
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert stop_ids(tokenizer) == {0, end}
    with torch.no_grad():  # a model that says one thing: the end of its turn, more often than not
        model.head.weight_VD[end] *= 4
    model.model.save_pretrained(folder)
    code, rows = sample(folder, tmp_path, [{"prompt": f"Name {n}"} for n in range(8)])
    assert code == 0
    finished = [row for row in rows if row["finished"]]
    assert finished
    assert not any("<|" in row["response"] for row in rows)


def test_long_prompts_are_left_out_and_said(folder, tmp_path, capsys):
    prompts = [{"prompt": "Hi"}, {"prompt": "no " * 60}]
    code, rows = sample(folder, tmp_path, prompts, "--max-prompt-tokens", "50")
    assert code == 0
    assert {row["prompt"] for row in rows} == {"Hi"}
    assert "left out, longer than --max-prompt-tokens 50: 1 prompt" in capsys.readouterr().err
    code, _ = sample(folder, tmp_path, [{"prompt": "no " * 200, "id": "long"}])
    assert code == 2
    said = capsys.readouterr().err
    assert "prompt long: the prompt 'no no" in said
    assert "the model's context is 128;" in said
    assert "--max-prompt-tokens 127" in said


def test_a_device_that_is_not_there_is_refused(folder, tmp_path, capsys):
    code, _ = sample(folder, tmp_path, [{"prompt": "Hi"}], "--device", "cuda:99")
    assert code == 2
    assert "device is 'cuda:99', which cannot be used" in capsys.readouterr().err


def test_bf16_answers_on_a_cpu(folder, tmp_path):
    code, rows = sample(folder, tmp_path, [{"prompt": "Hi"}], "--bf16", "--max-answers", "4")
    assert code == 0
    assert rows


def test_a_server_that_is_not_there_is_one_line(folder, tmp_path, capsys):
    prompts = [{"prompt": "Name a tree."}]
    (tmp_path / "p.jsonl").write_text(json.dumps(prompts[0]) + "\n")
    files = ["--model", str(folder), "--prompts", str(tmp_path / "p.jsonl"), "--out", "r.jsonl"]
    assert main(["sample", *files, "--vllm", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "the vLLM server at http://127.0.0.1:9 does not answer" in said
    assert said.count("\n") == 1
    assert main(["sample", *files, "--vllm", "http://127.0.0.1:9", "--bf16"]) == 2
    assert "leave out bf16 and device" in capsys.readouterr().err


def test_a_policy_without_weights_ends_and_measures_like_the_whole_one(folder):
    from understudy.models.policies import load_policy, without_weights

    whole, tokenizer = load_policy(folder)
    empty, same_tokenizer = without_weights(folder)
    assert empty.stop_ids == whole.stop_ids
    assert empty.config.to_dict() == whole.config.to_dict()
    assert same_tokenizer.get_vocab() == tokenizer.get_vocab()
    assert all(parameter.is_meta for parameter in empty.parameters())


@pytest.mark.parametrize(
    ("option", "advice"),
    [("--out=used.jsonl", "--overwrite"), ("--out=runs", "name a file"), ("--prompts=no", "check")],
)
def test_files_are_checked_before_torch_loads(tmp_path, option, advice):
    (tmp_path / "used.jsonl").touch()
    (tmp_path / "runs").mkdir()
    script = (
        "import sys; from understudy.cli import main; code = main(sys.argv[1:]);"
        "print(code, 'torch' in sys.modules)"
    )
    files = ["--model=m", "--prompts=used.jsonl", "--out=new.jsonl", option]
    command = [sys.executable, "-c", script, "sample", *files]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "2 False\n"
    assert advice in run.stderr
    assert run.stderr.count("\n") == 1
