"""The dry run of a pass against the same pass on real tensors."""

from dataclasses import replace

import pytest
import torch
from tests.unit.loop.planner.test_networks import network

from understudy.loop.planner.passes import Live, Pass, pass_bytes
from understudy.models.ops import chunked_logprobs

PASS = Pass(rows=2, length=32, reads=8, device="cpu")


def test_live_counts_what_is_alive_and_keeps_the_peak():
    with Live() as live:
        a = torch.zeros(1000)
        b = a + 1
        view = b[:10]
        del a
        assert live.bytes() == 4000
        b.untyped_storage().resize_(400)
        assert live.bytes() == 400
        del b
        assert live.bytes() == 400, "a view keeps its storage"
        del view
    assert live.bytes() == 0
    assert live.peak == 8000


def test_a_pass_of_any_depth_needs_what_real_tensors_need():
    one = network("gpt_neox", num_hidden_layers=6, vocab_size=500)
    model = one.build().eval()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    ids_BT = torch.zeros(2, 32, dtype=torch.long)
    row_N, column_N = torch.arange(2).repeat_interleave(8), torch.arange(24, 32).repeat(2)
    live = Live()
    for held in (*model.parameters(), *model.buffers(), *(w.grad for w in model.parameters())):
        live.add(held)
    before = live.bytes()
    with live:
        hidden_BTD = model.trunk(input_ids=ids_BT, attention_mask=None, use_cache=False)[0]
        hidden_ND = hidden_BTD[row_N, column_N]
        labels_N = ids_BT[row_N, column_N]
        chunked_logprobs(hidden_ND, model.head.weight_VD, labels_N)[0].sum().backward()
    assert pass_bytes(one, PASS) == pytest.approx(live.peak - before, rel=0.05)


@pytest.mark.thorough
def test_recomputing_activations_saves_memory_and_more_tokens_cost_it():
    one = network("llama", num_hidden_layers=8)
    plain = pass_bytes(one, PASS)
    assert pass_bytes(one, replace(PASS, checkpointing=True)) < 0.5 * plain
    assert pass_bytes(one, replace(PASS, rows=4)) > 1.5 * plain
    assert pass_bytes(one, replace(PASS, dropout=0.2)) > plain
    assert pass_bytes(one, replace(PASS, keeps="none")) < 0.5 * plain


@pytest.mark.thorough
def test_a_sharded_pass_gathers_few_layers_at_a_time():
    few, many = (network("gpt_neox", num_hidden_layers=n, hidden_size=96) for n in (6, 30))
    sharded = replace(PASS, shards=8, checkpointing=True)
    whole = 4 * (many.parameters - few.parameters)
    grown = pass_bytes(many, sharded) - pass_bytes(few, sharded)
    inputs = 24 * 2 * 32 * 96 * 4  # what checkpointing keeps: the input of each layer
    assert inputs <= grown < inputs + 0.1 * whole


@pytest.mark.thorough
def test_bf16_copies_of_a_sharded_model_do_not_stay_until_the_forward_passs_end():
    few, many = (network("gpt_neox", num_hidden_layers=n, hidden_size=96) for n in (6, 30))
    sharded = replace(PASS, rows=1, length=8, shards=8, checkpointing=True, bf16=True)
    copies = 2 * (many.parameters - few.parameters)
    assert pass_bytes(many, sharded) - pass_bytes(few, sharded) < 0.5 * copies


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_layers_stored_in_bf16_are_gathered_in_it(kind):
    one = network(kind, hidden_size=96)
    sharded = replace(PASS, rows=1, length=8, shards=8, bf16=True, frozen=True, keeps="none")
    assert pass_bytes(one, replace(sharded, rounded=True)) < 0.8 * pass_bytes(one, sharded)
