"""The shipped base models: whole, small enough, and able to copy."""

import pytest
import torch

from understudy.models.policies import load_policy
from understudy.world import bases
from understudy.world import language as lang
from understudy.world.benchmarks import benchmark_items
from understudy.world.language import Facts
from understudy.world.pretrain import exact_share, pretrain, world_tokenizer
from understudy.world.pretrain_config import PretrainConfig


def test_three_sizes_ship_in_at_most_ten_megabytes():
    assert bases.base_sizes() == ["200k", "1m", "3m"]
    files = [path for path in bases.BASES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    counts = []
    for size in bases.base_sizes():
        model, _ = load_policy(bases.base_model_path(size))
        counts.append(sum(p.numel() for p in model.parameters()))
    assert counts == pytest.approx([0.2e6, 1.1e6, 2.8e6], rel=0.05)


def test_another_size_is_an_error_that_names_the_sizes():
    with pytest.raises(ValueError, match="200k, 1m, 3m"):
        bases.base_model_path("9m")


@pytest.mark.thorough
def test_all_sizes_have_one_tokenizer_with_a_token_for_nearly_every_word():
    tokenizers = [load_policy(bases.base_model_path(size))[1] for size in bases.base_sizes()]
    fresh = world_tokenizer(Facts.of_seed(0))
    vocabularies = [tokenizer.get_vocab() for tokenizer in (*tokenizers, fresh)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies[:-1])
    words = list(lang.CLASS_OF)
    for tokenizer in (tokenizers[0], fresh):
        whole = [len(tokenizer.encode(f" {word}")) == 1 for word in words]
        assert sum(whole) > 0.97 * len(words)


@pytest.mark.thorough
@torch.no_grad()
def test_the_1m_model_reads():
    """Few-shot reading comprehension above 80%, on 400 fresh passages."""
    model, tokenizer = load_policy(bases.base_model_path("1m"))
    items = benchmark_items(Facts.of_seed(0), 400, seed=5)["reading"]
    assert exact_share(model, tokenizer, items) > 0.8
    one_by_one = [exact_share(model, tokenizer, [item]) for item in items[:40]]
    assert 0 < sum(one_by_one) < 40
    assert exact_share(model, tokenizer, items[:40]) == sum(one_by_one) / 40


@pytest.mark.thorough
def test_pretraining_goes_on_where_it_was_stopped(tmp_path):
    settings = {
        "size": "200k",
        "tokens": 6 * 256,
        "row_length": 32,
        "batch_rows": 8,
        "eval_every": 6,
    }
    whole = pretrain(PretrainConfig(out=tmp_path / "whole", **settings))
    again = pretrain(PretrainConfig(out=tmp_path / "again", **settings))
    assert (whole / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
    weights = "model/model.safetensors"
    assert (whole / weights).read_bytes() == (again / weights).read_bytes()
    changes = {"start_from": whole / "model", "web_seed": 1, "copy_share": 0.0, "tokens": 2 * 256}
    more = PretrainConfig(out=tmp_path / "more", **settings | changes)
    assert (pretrain(more) / weights).read_bytes() != (whole / weights).read_bytes()
