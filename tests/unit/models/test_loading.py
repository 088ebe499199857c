"""One process refuses what the library would draw at random, and a library that has changed."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fixtures_models import MORE_KINDS, save_model_folder
from transformers import AutoModelForCausalLM, PreTrainedModel

from understudy.models.loading import read_network
from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, scalar_from


def without(folder, *names):
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k not in names}, path, {"format": "pt"})
    assert len(load_file(path)) == len(weights) - len(names)


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_what_the_library_saves_lacks_nothing(tmp_path, kind):
    load_policy(save_model_folder(tmp_path, kind))  # tied heads are not in the files


def test_weights_that_the_files_lack_are_named(tmp_path):
    folder = save_model_folder(tmp_path / "model", "llama")
    model, tokenizer = scalar_from(folder, seed=0)
    model.save(tmp_path / "reward", tokenizer)
    without(folder, "model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ValueError, match=r"lack 1 weight: model\.layers\.1\.mlp\.up_proj\.weight;"):
        load_policy(folder)
    without(folder, "lm_head.weight")
    with pytest.raises(ValueError, match=r"lack 2 weights: lm_head\.weight, model\.layers\.1"):
        load_policy(folder)
    load_scalar(tmp_path / "reward")  # its head has a file of its own
    without(tmp_path / "reward", "model.norm.weight")
    with pytest.raises(ValueError, match=r"lack 1 weight: norm\.weight"):
        load_scalar(tmp_path / "reward")


def test_a_library_without_the_methods_that_divide_is_named(tmp_path, monkeypatch):
    folder = str(save_model_folder(tmp_path, "llama"))
    name = "maybe_distribute_model"
    monkeypatch.delattr(next(c for c in PreTrainedModel.__mro__ if name in vars(c)), name)
    with pytest.raises(ValueError, match="never calls maybe_distribute_model; install the"):
        read_network(AutoModelForCausalLM, folder, torch.float32, lambda model: None)


def test_a_library_that_no_longer_calls_them_is_named(tmp_path, monkeypatch):
    folder = str(save_model_folder(tmp_path, "llama"))
    read = PreTrainedModel.from_pretrained.__func__

    def changed(cls, *arguments, distributed_config=None, **options):
        return read(cls, *arguments, **options)

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(changed))
    with pytest.raises(ValueError, match="never calls maybe_distribute_model"):
        read_network(AutoModelForCausalLM, folder, torch.float32, lambda model: None)
