import json

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_models import make_policy
from transformers import AutoModelForCausalLM

from understudy.models.saving import write_weights


def tensors(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (60_000, 3), (1, 20)])
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


def test_one_layer_is_in_memory_at_a_time(tmp_path):
    """A layer is written before the next one's second tensor is asked for."""
    written = []

    def stream():
        for name in ("embed", "h.0.a", "h.0.b", "h.1.a", "h.1.b", "norm", "head"):
            written.append(len(list(tmp_path.glob("part-*"))))
            yield name, torch.zeros(100)

    write_weights(tmp_path, stream(), make_policy("llama"))
    assert written == [0, 0, 1, 1, 2, 2, 3]


def test_joined_files_keep_every_tensor_of_every_type(tmp_path):
    kinds = {"a": torch.bfloat16, "h.0.b": torch.float32, "h.1.c": torch.bool, "d": torch.int64}
    wanted = {name: torch.arange(3).to(kind) for name, kind in kinds.items()}
    wanted |= {"none": torch.zeros(0, 2), "one": torch.tensor(1.5)}
    write_weights(tmp_path, wanted.items(), make_policy("llama"))
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert all(found[name].dtype == kinds[name] for name in kinds)


@pytest.mark.parametrize("kind", ["gpt_neox", "opt", "gpt2", "qwen2"])
def test_files_have_the_librarys_names(tmp_path, kind):
    model = make_policy(kind)
    model.model.save_pretrained(tmp_path / "library")
    (tmp_path / "ours").mkdir()
    write_weights(tmp_path / "ours", tensors(model).items(), model.model)
    ours, theirs = (load_file(tmp_path / n / "model.safetensors") for n in ("ours", "library"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
