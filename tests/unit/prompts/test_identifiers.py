"""Check digits: one changed digit is always noticed where the scheme promises it."""

import pytest

from understudy.prompts import identifiers


@pytest.mark.parametrize("digits", ["79927398713", "4111111111111111", "0"])
def test_luhn_accepts_right_numbers(digits: str) -> None:
    assert identifiers.luhn(digits)


@pytest.mark.parametrize(
    ("check", "number"),
    [
        (identifiers.luhn, "79927398713"),
        (identifiers.in_aadhaar, "234567890124"),
        (identifiers.br_cpf, "52998224725"),
    ],
)
def test_one_wrong_digit_is_noticed(check, number: str) -> None:
    for place, right in enumerate(number):
        wrong = {d for d in "0123456789" if d != right}
        assert not any(check(number[:place] + d + number[place + 1 :]) for d in wrong)


def test_iban_needs_its_countrys_length() -> None:
    assert identifiers.iban("GB82WEST12345698765432")
    assert not identifiers.iban("GB82WEST1234569876543")
    assert not identifiers.iban("XX82WEST12345698765432")
