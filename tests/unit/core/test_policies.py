import os
import subprocess
import sys

import pytest
import torch
from tests.fixtures_models import KINDS, make_policy, make_tokenizer, save_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from understudy.core.batching import pad
from understudy.core.models import (
    atomic_folder,
    context_length,
    forward_hidden,
    load_policy,
    policy_logprobs,
    save_policy,
)
from understudy.core.ops import entropy_of, logprobs_of


@pytest.mark.parametrize("kind", KINDS)
def test_any_architecture_gives_its_own_logprobs_whatever_the_padding(kind):
    model = make_policy(kind)
    rows = [[5, 9, 200, 31], [7, 8, 9, 10, 11, 12, 13], [99, 3]]
    found = {}
    for side in ("left", "right"):
        ids_BT, mask_BT = pad(rows, 1, side)
        logprobs_BT, entropy_BT = policy_logprobs(model, ids_BT, mask_BT, temperature=0.7)
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
    whole, _ = policy_logprobs(model, ids_BT, mask_BT)
    some, _ = policy_logprobs(model, ids_BT, mask_BT, at_BT=torch.tensor([[0, 0, 1, 0]]))
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


def test_pad_is_never_eos_and_spare_rows_are_used(tmp_path):
    # 384 embedding rows for 360 tokens: the added pad token needs no new row.
    folder = save_model_folder(tmp_path / "m", tokenizer=make_tokenizer(pad_token="<eos>"))
    model, tokenizer = load_policy(folder)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert model.get_input_embeddings().weight.shape[0] == 384


@pytest.mark.parametrize("kind", ["llama", "llama_tied"])
def test_embeddings_grow_for_the_pad_token_only_if_full(tmp_path, kind):
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    tokenizer = make_tokenizer(pad_token=None)
    tokenizer.add_tokens(["<other>"])  # "<pad>" is an ordinary token of this one, all rows are used
    folder = save_model_folder(
        tmp_path / "m", kind, tokenizer=_rename_pad(tokenizer), vocab_size=size + 1
    )
    model, loaded = load_policy(folder)
    assert loaded.pad_token_id == size + 1
    weight = model.get_output_embeddings().weight
    assert weight.shape[0] == size + 2
    torch.testing.assert_close(weight[-1], weight[:-1].mean(0))
    assert model.config.vocab_size == size + 2


def _rename_pad(tokenizer):
    """The tokenizer with none of the usual names for a pad token in its vocabulary."""
    import json

    from tokenizers import Tokenizer

    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    raw["model"]["vocab"]["<never>"] = raw["model"]["vocab"].pop("<pad>")
    for token in raw["added_tokens"]:
        token["content"] = token["content"].replace("<pad>", "<never>")
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(raw))
    return tokenizer


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"model folder .*nowhere does not exist"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"not a model folder: it has no config.json"):
        load_policy(tmp_path / "empty")
    make_policy().save_pretrained(tmp_path / "bare")
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
    hidden_BTD = forward_hidden(model, ids_BT, mask_BT)
    alone_1TD = forward_hidden(model, ids_BT[:1, :3], mask_BT[:1, :3])
    torch.testing.assert_close(hidden_BTD[:1, :3], alone_1TD, rtol=1e-5, atol=1e-5)


def test_a_hub_that_cannot_be_reached_is_asked_once_and_said_in_a_line(tmp_path):
    """In a process of its own: where the hub is, is read when the package is imported."""
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "x", "response": "y"}\n')
    command = [sys.executable, "-m", "understudy.cli", "sft", "--model", "nomodel"]
    command += ["--data", str(data), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        command, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "nomodel is no folder, and the Hugging Face hub cannot be reached" in line
    assert not (tmp_path / "run").exists()


def test_a_copy_on_this_machine_is_used_where_the_hub_cannot_be_reached(tmp_path):
    snapshot = tmp_path / "hub" / "models--org--small" / "snapshots" / ("a" * 40)
    save_model_folder(snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    code = "from understudy.core.models import load_policy; print(load_policy('org/small')[0])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("LlamaForCausalLM("), done.stderr
