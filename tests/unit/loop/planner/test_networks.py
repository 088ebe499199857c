"""Sizes and operations, against the trainers' own sharding and PyTorch's counter."""

import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import FlopCounterMode

from understudy.engines.replica import unsharded
from understudy.loop.planner.networks import FP32, Network, as_scalar, network_of
from understudy.loop.planner.passes import fake_ranks, local_bytes
from understudy.models.policies import Policy
from understudy.models.sharding import shard
from understudy.sft.config import SFTConfig
from understudy.training.optim import make_optimizer

SETTINGS = SFTConfig(model="m", data="d", out="o")


def network(kind: str, *, tied: bool = False, **changes) -> Network:
    """33 rows of embeddings and a hidden size of 48: no number of ranks divides all tensors."""
    shape = dict(
        model_type=kind,
        vocab_size=33,
        hidden_size=48,
        intermediate_size=100,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=0,
    )
    if kind == "llama":
        shape["num_key_value_heads"] = 2
    return network_of(kind, shape | changes, SETTINGS)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("shards", "replicas"), [(1, 1), (8, 1), (64, 1), (8, 4)])
def test_weights_equal_to_the_byte_those_of_the_dry_run(kind, tied, shards, replicas):
    one = network(kind, tied=tied)
    for each in (one, as_scalar(one)):
        assert FP32 * each.numbers(shards) == local_bytes(each, shards, replicas)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt"])
@pytest.mark.parametrize(("shards", "replicas"), [(1, 1), (8, 1), (8, 4)])
def test_parts_of_layers_equal_to_the_byte_those_of_the_dry_run(kind, shards, replicas):
    one = network(kind, tied=kind == "opt", ffn_dim=100)
    for each in (one, as_scalar(one)):
        assert FP32 * each.numbers(shards, tensor=2) == local_bytes(each, shards, replicas, 2)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2"])
@pytest.mark.parametrize(("shards", "tensor"), [(1, 1), (8, 1), (8, 2)])
def test_frozen_weights_in_bf16_equal_to_the_byte_those_of_the_dry_run(kind, shards, tensor):
    if (kind, tensor) == ("gpt2", 2):
        return  # split for rollouts only
    one = network(kind, tied=kind == "gpt2")
    for each in (one, as_scalar(one)):
        found = local_bytes(each, shards, tensor=tensor, rounded=True)
        assert each.frozen_bytes(shards, tensor, bf16=True) == found
        assert each.frozen_bytes(shards, tensor, bf16=False) == FP32 * each.numbers(
            shards, tensor=tensor
        )


def test_175b_split_by_8_on_64_cards_is_what_was_counted_before():
    """The golden number of the prototype that this code follows."""
    shape = dict(vocab_size=50304, hidden_size=12288, intermediate_size=49152)
    shape |= dict(num_hidden_layers=96, num_attention_heads=96, max_position_embeddings=2048)
    assert network("gpt_neox", **shape).numbers(8, tensor=8) == 2_873_459_712


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2", "opt"])
@pytest.mark.parametrize(("ranks", "bf16"), [(1, False), (1, True), (2, False), (2, True)])
def test_a_rollout_copy_equals_to_the_byte_that_of_the_dry_run(kind, ranks, bf16):
    one = network(kind, tied=kind != "gpt_neox", ffn_dim=100)
    with fake_ranks(8) as mesh, torch.device("meta"):
        policy = one.build()
        assert isinstance(policy, Policy)
        policy.bf16 = bf16
        shard(policy.model, mesh)
        group = dist.new_subgroups(ranks)[0] if ranks > 1 else None
        copied = unsharded(policy, group)
        found = sum(weight.nbytes for weight in copied.parameters())
    assert one.copy_bytes(ranks, bf16) == found


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_moments_equal_to_the_byte_those_of_the_optimizer(kind):
    one = network(kind, tied=True)
    with fake_ranks(8) as mesh, FakeTensorMode(allow_non_fake_inputs=True):
        model = one.build()
        assert isinstance(model, Policy)
        shard(model.model, mesh)
        states = make_optimizer(model, 1e-4).state.values()
        found = [tensor for state in states for tensor in state.values()]
        total = sum((x.to_local() if isinstance(x, DTensor) else x).nbytes for x in found)
    assert one.moments(8) == total


@pytest.mark.thorough
def test_175b_on_1024_ranks_is_sharded_in_half_a_gibibyte():
    """In a process of its own, whose memory is measured."""
    script = """
import re
from tests.unit.loop.planner.test_networks import network
from understudy.loop.planner.passes import local_bytes
one = network("gpt_neox", vocab_size=50257, hidden_size=12288, intermediate_size=49152,
              num_hidden_layers=96, num_attention_heads=96, max_position_embeddings=2048)
found = local_bytes(one, 1024)
with open("/proc/self/status") as status:  # ru_maxrss would count the parent's memory too
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]
print(one.parameters, 4 * one.numbers(1024), found, peak)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parameters, planned, found, kilobytes = map(int, done.stdout.split())
    assert parameters == 175_196_651_520
    assert planned == found == 684_452_448
    assert kilobytes < 2**19


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gpt2"])
def test_operations_equal_those_of_pytorchs_counter(kind):
    one = network(kind, attn_implementation="eager")
    model = Policy(one.build().model.eval())
    rows, length, reads = 2, 24, 10
    ids_BT = torch.randint(33, (rows, length), generator=torch.Generator().manual_seed(0))
    row_N = torch.arange(rows).repeat_interleave(reads)
    column_N = torch.arange(length - reads, length).repeat(rows)
    mask_BT = torch.ones_like(ids_BT)
    with FlopCounterMode(display=False) as forward:
        logprobs_N, _ = model.logprobs_at(ids_BT, mask_BT, row_N, column_N, ids_BT[row_N, column_N])
    with FlopCounterMode(display=False) as backward:
        logprobs_N.sum().backward()
    planned = rows * one.flops(length, reads)
    # Rotary embeddings multiply positions by frequencies, which the plan leaves out.
    assert forward.get_total_flops() == pytest.approx(planned, rel=1e-3)
    not_counted = 2 * rows * reads * 33 * 48  # the head's gradient, an addmm_ in place
    found = backward.get_total_flops() + not_counted
    assert found == pytest.approx(2 * planned, rel=1e-3)


def test_adapters_are_what_is_trained():
    pytest.importorskip("peft")
    settings = SFTConfig(model="m", data="d", out="o", lora_rank=4)
    plain, adapted = network("llama"), None
    adapted = Network("llama", plain.config, settings)
    # Rank 4 beside each linear map: 4 x (inputs + outputs).
    maps = [(48, 48), (48, 24), (48, 24), (48, 48), (48, 100), (48, 100), (100, 48)]
    factors = 3 * sum(4 * (a + b) for a, b in maps)
    assert adapted.numbers(trained=True) == factors
    assert adapted.parameters == plain.parameters + factors


def test_what_is_no_dense_language_model_is_refused():
    mixture = dict(model_type="mixtral", hidden_size=32, num_hidden_layers=1, vocab_size=32)
    mixture |= dict(num_attention_heads=4, num_key_value_heads=2, intermediate_size=32)
    with pytest.raises(ValueError, match="not a dense decoder"):
        network_of("m", mixture, SETTINGS)
    with pytest.raises(ValueError, match="is not a language model to plan for"):
        network_of("m", dict(model_type="no-such-model"), SETTINGS)
