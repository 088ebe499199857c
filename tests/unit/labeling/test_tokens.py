from pathlib import Path

import pytest

from understudy.labeling.tokens import Length, num_words

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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("Two words, and more.", 4),
        ("don't \u2014 well-known", 2),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", 4),
        ("\u3053\u3093\u306b\u3061\u306f world", 6),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", 3),
        ("\uc548\ub155 \uc138\uacc4", 2),
        ("\uff76\uff85 \u3105\u3106 \ua188\ua320", 6),  # half-width kana, bopomofo, Yi
        ("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0b", 2),
    ],
)
def test_words_are_counted_in_every_script(text: str, number: int) -> None:
    assert num_words(text) == number
