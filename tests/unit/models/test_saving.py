import json

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_models import make_policy
from transformers import AutoModelForCausalLM

from understudy.models.saving import write_weights


def tensors(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (60_000, 2), (1, 20)])
def test_the_library_reads_files_of_any_size(tmp_path, limit, files):
    model = make_policy("llama_tied")
    model.config.save_pretrained(tmp_path)
    write_weights(tmp_path, tensors(model).items(), model, limit)
    found = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(found) == files
    assert not list(tmp_path.glob("part-*"))
    assert all(path.stat().st_size < limit + 60_000 for path in tmp_path.glob("*.safetensors"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for name, weight in tensors(loaded).items():
        assert torch.equal(weight, tensors(model)[name])


def test_the_index_names_every_tensor_and_the_bytes_in_all(tmp_path):
    model = make_policy("llama")
    weights = tensors(model)
    write_weights(tmp_path, weights.items(), model, 50_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(weights)
    assert set(index["weight_map"].values()) == {p.name for p in tmp_path.glob("*.safetensors")}
    assert index["metadata"]["total_size"] == sum(4 * w.numel() for w in weights.values())


def test_one_tensor_is_in_memory_at_a_time_beside_a_file(tmp_path):
    """No more tensors are asked for than a file holds before it is written."""
    written = []

    def stream():
        for index in range(6):
            written.append(len(list(tmp_path.glob("part-*"))))
            yield f"w{index}", torch.zeros(100)

    write_weights(tmp_path, stream(), make_policy("llama"), limit=800)
    assert written == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("kind", ["gpt_neox", "opt", "gpt2", "qwen2"])
def test_files_have_the_librarys_names(tmp_path, kind):
    model = make_policy(kind)
    model.model.save_pretrained(tmp_path / "library")
    (tmp_path / "ours").mkdir()
    write_weights(tmp_path / "ours", tensors(model).items(), model.model)
    ours, theirs = (load_file(tmp_path / n / "model.safetensors") for n in ("ours", "library"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
