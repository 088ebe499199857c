"""Texts are found in files wherever they are, and nothing else is."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.store.erasure import traces
from understudy.store.erasure.traces import WIDTH, Texts, files_with

TEXT = 'a text, "quoted", of\ntwo lines \u2713'


@given(
    before=st.binary(max_size=40),
    text=st.text(alphabet='ab"\\\n\u00e9\u2713', min_size=WIDTH, max_size=60),
    after=st.binary(max_size=40),
    size=st.integers(min_value=1, max_value=64),
)
def test_a_text_is_found_at_any_place(tmp_path_factory, before, text, after, size) -> None:
    path = tmp_path_factory.mktemp("traces") / "file"
    path.write_bytes(before + text.encode() + after)
    piece = traces.PIECE
    traces.PIECE = size  # so that it lies across pieces
    try:
        assert Texts([text]).in_file(path)
        cut = before + text.encode()[:-1]
        path.write_bytes(cut)
        assert Texts([text]).in_file(path) == (text.encode() in cut)
    finally:
        traces.PIECE = piece


def test_files_are_named_and_weights_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "plain.txt").write_text(f"x{TEXT}y")
    (tmp_path / "deep" / "rows.jsonl").write_text(json.dumps({"prompt": TEXT}))
    (tmp_path / "deep" / "utf8.jsonl").write_text(json.dumps([TEXT], ensure_ascii=False))
    (tmp_path / "other").write_text(TEXT[:-2] + "?!")
    (tmp_path / "model.safetensors").write_text(TEXT)
    (tmp_path / "ours").write_text(TEXT)
    but = {(tmp_path / "ours").resolve()}
    found = [path.name for path in files_with(tmp_path, Texts([TEXT, "short"]), but=but)]
    assert found == ["rows.jsonl", "utf8.jsonl", "plain.txt"]
    assert not list(files_with(tmp_path, Texts(["short"])))


@pytest.mark.parametrize("place", [0, 77, 1998])
def test_one_of_many_texts(tmp_path: Path, place: int) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdef ", k=100)) for _ in range(2000)]
    path = tmp_path / "file"
    path.write_text("".join(rng.choices("abcdef ", k=200_000)) + texts[place])
    assert Texts(texts).in_file(path)
    assert not Texts(texts[:place] + texts[place + 1 :]).in_file(path)
