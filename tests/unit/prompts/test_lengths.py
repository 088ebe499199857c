"""Lengths, by estimate and by a real tokenizer."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from understudy.prompts.lengths import estimate_tokens, tokenizer_counter, within


def test_the_estimate_is_a_token_per_four_bytes_rounded_up() -> None:
    assert estimate_tokens(["abcd", "abcde", "\u00e9\u00e9\u00e9"]) == [1, 2, 2]


def test_a_tokenizer_file_or_its_folder_counts(tmp_path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        assert tokenizer_counter(str(place))(["a b", "a", "a b what"]) == [2, 1, 3]


def test_a_missing_tokenizer_is_one_clear_error(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no .*tokenizer\.json"):
        tokenizer_counter(str(tmp_path))


def test_short_ascii_is_not_counted_and_the_limit_is_inclusive() -> None:
    counted = []

    def count(texts):
        counted.extend(texts)
        return [len(text) for text in texts]

    assert within(["abc", "abcd", "abcde", "\u00e9"], 4, count) == [True, True, False, True]
    assert counted == ["abcd", "abcde", "\u00e9"]
