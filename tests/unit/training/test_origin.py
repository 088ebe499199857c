import hashlib

import pytest

from understudy.training.origin import code_version, describe_input, find_parents, folder_hash


def test_inputs_are_known_by_their_content(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    found = describe_input(file)
    assert found == {"path": str(file), "sha256": hashlib.sha256(b"{}\n").hexdigest()}
    assert describe_input("hub/name") == {"path": "hub/name", "sha256": None}
    before = folder_hash(tmp_path)
    assert describe_input(tmp_path)["sha256"] == before
    file.rename(tmp_path / "b.jsonl")
    assert folder_hash(tmp_path) != before
    with pytest.raises(ValueError, match=r"none\.jsonl does not exist"):
        describe_input(tmp_path / "none.jsonl")


def test_parents_are_the_runs_that_inputs_lie_in(tmp_path):
    model = tmp_path / "sft" / "model"
    model.mkdir(parents=True)
    (tmp_path / "sft" / "run.json").write_text("{}")
    (tmp_path / "free.jsonl").write_text("")
    inputs = {"model": model, "data": tmp_path / "free.jsonl", "hub": "a/b", "none": None}
    assert find_parents(inputs) == {"model": str((tmp_path / "sft").resolve())}


def test_the_code_has_a_version():
    assert code_version()
