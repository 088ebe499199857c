"""Storages move to the machine's memory and back; tensors stay the same objects."""

import torch
from torch import nn

from understudy.models.offload import Offload


def sizes(*tensors):
    return [tensor.untyped_storage().nbytes() for tensor in tensors]


def test_what_a_phase_does_not_need_has_no_memory_until_it_is_needed_again():
    model, other = nn.Linear(3, 2), nn.Linear(4, 4)
    bits = [weight.detach().clone() for weight in (*model.parameters(), *other.parameters())]
    offload = Offload(
        {"model": model.parameters, "other": other.parameters},
        {"both": ("model", "other"), "one": ("other",), "none": ("absent",)},
    )
    weight = model.weight
    offload.only("one")
    assert sizes(*model.parameters()) == [0, 0]
    assert sizes(*other.parameters()) == [64, 16]
    offload.only("none")
    assert sizes(*model.parameters(), *other.parameters()) == [0, 0, 0, 0]
    offload.only("both")
    assert model.weight is weight
    found = (*model.parameters(), *other.parameters())
    assert all(torch.equal(one, was) for one, was in zip(found, bits, strict=True))


def test_new_numbers_are_kept_and_a_shared_storage_stays_while_one_owner_needs_it():
    held = torch.arange(6.0)
    view = held[2:]
    offload = Offload(
        {"whole": lambda: [held], "view": lambda: [view]},
        {"view": ("view",), "neither": (), "whole": ("whole",)},
    )
    offload.only("view")
    assert sizes(held) == [24]
    for _ in range(2):
        held += 1
        offload.only("neither")
        assert sizes(held) == [0]
        offload.only("whole")
    assert held.tolist() == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_without_phases_nothing_moves():
    held = torch.ones(2)
    Offload({"held": lambda: [held]}).only("update")
    assert sizes(held) == [8]
