import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_models import KINDS, make_policy, make_tokenizer, save_model_folder
from tests.fixtures_tokenizers import KINDS as TOKENIZERS
from transformers import AutoModelForCausalLM, AutoTokenizer

from understudy.engines.sampling import draw_responses
from understudy.models.batching import pad
from understudy.models.chat import stop_ids
from understudy.models.ops import entropy_of, logprobs_of
from understudy.models.policies import atomic_folder, load_policy, load_tokenizer, save_policy
from understudy.models.trunk import context_length
from understudy.records import Prompt


@pytest.mark.parametrize("kind", KINDS)
def test_any_architecture_gives_its_own_logprobs_whatever_the_padding(kind):
    model = make_policy(kind)
    rows = [[5, 9, 200, 31], [7, 8, 9, 10, 11, 12, 13], [99, 3]]
    found = {}
    for side in ("left", "right"):
        ids_BT, mask_BT = pad(rows, 1, side)
        logprobs_BT, entropy_BT = model.logprobs(ids_BT, mask_BT, temperature=0.7)
        assert not logprobs_BT[mask_BT == 0].any()
        found[side] = [
            (logprobs_BT[i, real], entropy_BT[i, real]) for i, real in enumerate(mask_BT.bool())
        ]
    for index, row in enumerate(rows):
        ids_1T = torch.tensor([row])
        logits_1TV = model(ids_1T).logits[:, :-1]
        expected = logprobs_of(logits_1TV, ids_1T[:, 1:], 0.7)[0]
        entropy = entropy_of(logits_1TV, 0.7)[0]
        for side in ("left", "right"):
            logprobs, entropies = found[side][index]
            assert logprobs[0] == 0  # nothing predicts the first token
            torch.testing.assert_close(logprobs[1:], expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(entropies[1:], entropy, rtol=1e-4, atol=1e-5)


def test_logprobs_only_where_asked():
    model = make_policy()
    ids_BT, mask_BT = pad([[5, 9, 200, 31]], 1)
    whole, _ = model.logprobs(ids_BT, mask_BT)
    some, _ = model.logprobs(ids_BT, mask_BT, at_BT=torch.tensor([[0, 0, 1, 0]]))
    assert some.tolist() == [[0, 0, pytest.approx(whole[0, 2].item(), abs=1e-5), 0]]


def test_save_and_load_give_the_same_logits(tmp_path):
    model, tokenizer = load_policy(save_model_folder(tmp_path / "base"))
    save_policy(model, tokenizer, tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = torch.tensor([[5, 9, 200, 31]])
    assert torch.equal(plain(ids).logits, model(ids).logits)
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.chat_template == tokenizer.chat_template
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("old")

    def fail():
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "a").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("pad", [None, "<eos>", "<pad>"])
def test_the_vocabulary_stays_as_it_is(tmp_path, pad):
    size = len(make_tokenizer())
    folder = save_model_folder(
        tmp_path / "m", tokenizer=make_tokenizer(pad_token=pad), vocab_size=size
    )
    model, tokenizer = load_policy(folder)
    assert (len(tokenizer), tokenizer.pad_token) == (size, pad)
    assert model.model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == size
    save_policy(model, tokenizer, tmp_path / "again")
    assert len(load_tokenizer(tmp_path / "again")) == size
    answers = [draw(model, tokenizer, n) for n in (1, 3)]  # padded or not, the same
    assert answers[0] == answers[1][:1]


def draw(model, tokenizer, count):
    prompts = [Prompt(id=f"p{n}", prompt="Name " + "a b " * n, user_id="u") for n in range(count)]
    options = dict(num_samples=1, seed=0, max_new_tokens=5, model_name="m", slots=4)
    return [r.response for r in draw_responses(model, tokenizer, prompts, **options)]


def test_tokens_without_embeddings_are_named(tmp_path):
    tokenizer = make_tokenizer()
    folder = save_model_folder(tmp_path / "m", tokenizer=tokenizer, vocab_size=len(tokenizer))
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"1 tokens, such as '<tool>'.*resize_token_embeddings"):
        load_policy(folder)


def test_stop_tokens_of_the_generation_config_are_taken_over_and_saved(tmp_path):
    folder = save_model_folder(tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    model, tokenizer = load_policy(folder)
    assert stop_ids(tokenizer) == {0, 7, 9}
    save_policy(model, tokenizer, tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [0, 7, 9]


def test_weights_that_are_not_numbers_are_named(tmp_path):
    model = make_policy()
    name, weight = list(model.named_parameters())[3]
    with torch.no_grad():
        weight.view(-1)[5] = float("nan")
    model.model.save_pretrained(tmp_path / "m")
    make_tokenizer().save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=rf"NaN in 1 weight of {re.escape(name)}"):
        load_policy(tmp_path / "m")


def test_pickled_weights_are_named_and_the_command_converts_them(tmp_path):
    folder = save_model_folder(tmp_path / "m")
    expected = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(expected, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only in pytorch_model\.bin.*convert it") as caught:
        load_policy(folder)
    code = str(caught.value).partition('python -c "')[2].rstrip('"')
    exec(code)
    model, _ = load_policy(folder)
    torch.testing.assert_close(dict(model.named_parameters()), expected)


def test_a_template_is_talked_about_once(tmp_path, capsys):
    tokenizer = TOKENIZERS["gemma"]()
    folder = save_model_folder(tmp_path / "m", tokenizer=tokenizer, vocab_size=len(tokenizer))
    capsys.readouterr()
    for _ in range(2):
        load_tokenizer(folder)
    said = capsys.readouterr().err
    assert said.count("refuses a system turn (System role not supported)") == 1
    assert said.count("\n") == 1


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"model folder .*nowhere does not exist"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"not a model folder: it has no config.json"):
        load_policy(tmp_path / "empty")
    make_policy().model.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="has no tokenizer"):
        load_policy(tmp_path / "bare")
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    folder = save_model_folder(tmp_path / "endless", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        load_policy(folder)
    folder = save_model_folder(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="broken"):
        load_policy(folder)


def test_context_length():
    assert context_length(make_policy()) == 256
    assert context_length(make_policy("gpt2")) == 256


def test_right_padding_needs_no_mask():
    """The hidden states of real tokens are those of the row alone, bit for bit where it counts."""
    model = make_policy()
    ids_BT, mask_BT = pad([[5, 9, 200], [7, 8, 9, 10, 11]], 1)
    hidden_BTD = model.hidden(ids_BT, mask_BT)
    alone_1TD = model.hidden(ids_BT[:1, :3], mask_BT[:1, :3])
    torch.testing.assert_close(hidden_BTD[:1, :3], alone_1TD, rtol=1e-5, atol=1e-5)


WITHOUT_HUB = """
import sys
from understudy.cli import main
from understudy.models.policies import load_policy
sft = ["sft", "--data", sys.argv[1], "--out", sys.argv[2], "--model", "nomodel"]
print(main(sft), flush=True)
print("then", file=sys.stderr, flush=True)
print(load_policy("org/small")[0])
"""
"""In a process of its own: where the hub is, is read when the package is imported."""


@pytest.fixture(scope="module")
def without_hub(tmp_path_factory):
    """What became of a name that is nowhere, and of one with a copy on this machine."""
    folder = tmp_path_factory.mktemp("hub")
    snapshot = folder / "hub" / "models--org--small" / "snapshots" / ("a" * 40)
    save_model_folder(snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    data = folder / "data.jsonl"
    data.write_text('{"prompt": "x", "response": "y"}\n')
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HUB, data, folder / "run"],
        env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (folder / "run").exists()
    return done


@pytest.mark.thorough
def test_a_hub_that_cannot_be_reached_is_asked_once_and_said_in_a_line(without_hub):
    assert without_hub.stdout.splitlines()[0] == "2"
    (line,) = without_hub.stderr.partition("then\n")[0].splitlines()
    assert "nomodel is not a folder, and the Hugging Face hub cannot be reached" in line


@pytest.mark.thorough
def test_a_copy_on_this_machine_is_used_where_the_hub_cannot_be_reached(without_hub):
    assert "LlamaForCausalLM(" in without_hub.stdout, without_hub.stderr
