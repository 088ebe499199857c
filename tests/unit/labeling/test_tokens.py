from pathlib import Path

import pytest

from understudy.labeling.tokens import Length

BASES = Path(__file__).parents[3] / "src/understudy/world/bases"


def test_words_are_counted_without_a_tokenizer() -> None:
    length = Length()
    assert (length.unit, length.limit) == ("words", 1024)
    assert length.count("  one two\nthree ") == 3


def test_tokens_are_counted_with_a_models_tokenizer() -> None:
    (folder, *_) = sorted(path.parent for path in BASES.glob("*/tokenizer.json"))
    for where in (folder, folder / "tokenizer.json"):
        length = Length(limit=9, tokenizer=where)
        length.check()
        assert length.unit == "tokens"
        assert length.count("") == 0
        assert length.count("Name a prime.") > 3


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.json does not exist"):
        Length(tokenizer=tmp_path).check()
