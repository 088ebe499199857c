"""Two processes agree, share out the work, and fail together."""

import pytest
from tests.distributed.torchrun import findings

pytestmark = pytest.mark.thorough


@pytest.fixture
def found(quick):
    return findings(quick / "ranks")


def test_everybody_knows_who_they_are(found):
    assert [rank["who"] for rank in found] == [[0, 2, 0, 2, True], [1, 2, 1, 2, False]]


def test_each_pass_is_dealt_once_and_all_ranks_take_as_many(found):
    first, second = (rank["deal"] for rank in found)
    assert first["0"] == second["0"] == []
    assert (first["1"], second["1"]) == ([[0, True]], [[0, False]])
    assert (first["2"], second["2"]) == ([[0, True]], [[1, True]])
    assert first["5"] == [[0, True], [2, True], [4, True]]
    assert second["5"] == [[1, True], [3, True], [4, False]]


def test_numbers_text_and_rows_are_the_same_on_all(found):
    for rank in found:
        assert rank["sum"] == [3.0, 1.0]
        assert rank["sums"] == {"a": 2.0}
        assert rank["max"] == [-1.0, 1.0]
        assert rank["agree"] == [True, False, True]
        assert rank["gather_rows"] == [[[7, 8, 9], []], [[5]]]
        assert rank["from_rank"] == {"said": "by 1", "é": [None, 1]}
        assert rank["from_all"] == [{"rank": ""}, {"rank": "é"}]
        assert rank["sum_tensor"] == [1.5, 2.5, 2.5, 3.5]
    assert [rank["on_first"] for rank in found] == ["written", None]


def test_an_error_of_one_rank_ends_all_and_rank_0_says_it(found):
    first, second = found
    assert first["none_fails"] == second["none_fails"] == "went on"
    assert first["first_fails"] == ["ValueError", "bad file on 0"]
    assert first["second_fails"] == ["ValueError", "rank 1: bad file on 1"]
    assert first["both_fail"] == ["ValueError", "bad file on 0"]
    assert first["disk_full"] == ["OSError", "rank 1: OSError: no space"]
    for name, code in dict(first_fails=2, second_fails=2, both_fail=2, disk_full=1).items():
        assert second[name] == ["SystemExit", str(code)]
