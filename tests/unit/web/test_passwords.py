import pytest

from understudy.web.passwords import hash_password, outdated, verify

GOOD = "four good words here"


def test_a_password_is_kept_as_argon2id_and_salted() -> None:
    one, other = hash_password(GOOD), hash_password(GOOD)
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert one != other
    assert verify(one, GOOD)
    assert not verify(one, GOOD + " ")
    assert not outdated(one)


@pytest.mark.parametrize("length", [0, 11, 257])
def test_a_password_has_a_length(length: int) -> None:
    with pytest.raises(ValueError, match=f"has {length} characters; it must have 12 to 256"):
        hash_password("x" * length)


def test_nobody_has_no_password() -> None:
    for wrong in ("", "nobody's password", GOOD):
        assert not verify(None, wrong)
    assert not verify("no hash at all", GOOD)


def test_any_unicode_can_be_a_password() -> None:
    strange = "пароль \ud800 🔑 пароль"
    assert verify(hash_password(strange), strange)


def test_a_hash_of_other_parameters_is_outdated() -> None:
    assert outdated("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + "A" * 43)


def test_a_password_is_the_same_however_its_letters_are_written() -> None:
    composed, decomposed = "caf\u00e9 caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301 cafe\u0301"
    assert verify(hash_password(decomposed), composed)
    assert verify(hash_password(composed), decomposed)
