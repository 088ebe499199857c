"""What no JSON body may hold."""

import pytest

from understudy.web.bodies import LARGEST, check_body


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [1, {"b": -Infinity}]}', "NaN"),
        (b'{"a": 1e999}', "NaN"),
        (b'{"a": 9223372036854775808}', "64 bits"),
        (b'{"a": -1%s}' % (b"0" * 400), "64 bits"),
        (b'{"a": "x\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
    ],
)
def test_numbers_and_characters_that_others_cannot_read_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_body(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": %d, "b": 1.5e10}' % LARGEST,
        b'{"a": "NaN and 12345678901234567890"}',
        b'{"a": "a backslash: \\\\u0000"}',
        b'{"a": ',
        b"",
    ],
)
def test_all_else_is_let_in(raw: bytes) -> None:
    check_body(raw)


def test_the_gateway_lets_nul_in() -> None:
    check_body(b'{"a": "x\\u0000"}', nul=True)
