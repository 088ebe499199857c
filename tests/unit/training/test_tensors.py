import hashlib
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file

from understudy.training.tensors import bytes_of, read_tensors, write_tensors

TENSORS = {
    "weights": torch.arange(12, dtype=torch.float32).view(3, 4),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "part": torch.arange(10)[3:7],
    "step": torch.tensor(7.0),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "mask": torch.tensor([True, False, True]),
    "none": torch.empty(0, 5),
}


def test_the_library_reads_what_is_written(tmp_path):
    facts = write_tensors(tmp_path / "a.safetensors", TENSORS)
    data = (tmp_path / "a.safetensors").read_bytes()
    assert facts == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for found in (
        load_file(tmp_path / "a.safetensors"),
        read_tensors(tmp_path / "a.safetensors", facts),
    ):
        assert set(found) == set(TENSORS)
        for name, tensor in TENSORS.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def test_bytes_are_a_view_of_what_lies_in_order():
    tensor = torch.zeros(4)
    view = bytes_of(tensor)
    tensor[1] = 1.0
    assert bytes(view) == tensor.numpy().tobytes()


def test_writing_holds_no_second_copy(tmp_path):
    large = {name: torch.zeros(1_000_000) for name in "abcd"}
    tracemalloc.start()
    write_tensors(tmp_path / "a.safetensors", large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # bytes; the tensors have 16 million


@pytest.mark.parametrize("place", [0, 3, 8, 20, 200, -1])
def test_any_changed_byte_is_found(tmp_path, place):
    path = tmp_path / "a.safetensors"
    facts = write_tensors(path, TENSORS)
    data = bytearray(path.read_bytes())
    for bit in range(8):
        data[place] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(ValueError, match="does not match its sha256"):
            read_tensors(path, facts)
        data[place] ^= 1 << bit


def test_another_length_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    facts = write_tensors(path, TENSORS)
    data = path.read_bytes()
    for other in (b"", data[:5], data[:-1], data + b"x"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="does not match"):
            read_tensors(path, facts)
