"""Personal data: what is found, with hand-checked numbers, and what is left alone."""

import pytest

from understudy.prompts.pii import find_pii, redact, redact_conversation
from understudy.records import Message

FOUND = [
    ("email", "write ann.lee+x@mail.example.org now", "ann.lee+x@mail.example.org"),
    ("email", "ask bob@example.com.", "bob@example.com"),
    ("phone", "ring +49 30 1234567 today", "+49 30 1234567"),
    ("phone", "(212) 555-0123 is hers", "(212) 555-0123"),
    ("phone", "1-800-555-0199", "1-800-555-0199"),
    ("phone", "+44 (0)20 7946 0018", "+44 (0)20 7946 0018"),
    ("phone", "06 12 34 56 78", "06 12 34 56 78"),
    ("phone", "my phone number is 5551234567", "5551234567"),
    ("phone", "call me at 555-0123", "555-0123"),
    ("card", "card 4111 1111 1111 1111 ok", "4111 1111 1111 1111"),
    ("card", "5500-0000-0000-0004", "5500-0000-0000-0004"),
    ("card", "378282246310005", "378282246310005"),
    ("iban", "to DE89 3704 0044 0532 0130 00 please", "DE89 3704 0044 0532 0130 00"),
    ("iban", "gb82west12345698765432", "gb82west12345698765432"),
    ("ip", "from 192.168.1.10 again", "192.168.1.10"),
    ("ip", "2001:0db8:85a3::8a2e:370:7334", "2001:0db8:85a3::8a2e:370:7334"),
    ("national_id", "123-45-6789", "123-45-6789"),  # US
    ("national_id", "SSN: 123456789", "123456789"),
    ("national_id", "AB 12 34 56 C", "AB 12 34 56 C"),  # UK
    ("national_id", "130 692 544", "130 692 544"),  # Canada
    ("national_id", "529.982.247-25", "529.982.247-25"),  # Brazil
    ("national_id", "DNI 12345678Z", "12345678Z"),  # Spain
    ("national_id", "RSSMRA85T10A562S", "RSSMRA85T10A562S"),  # Italy
    ("national_id", "2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),  # France
    ("national_id", "2345 6789 0124", "2345 6789 0124"),  # India
    ("national_id", "44051401359", "44051401359"),  # Poland
    ("national_id", "811218-9876", "811218-9876"),  # Sweden
    ("email", "it is jane [at] example [dot] com ok", "jane [at] example [dot] com"),
    ("email", "ann(at)mail.example.org", "ann(at)mail.example.org"),
    ("email", "write bo at example dot net", "bo at example dot net"),
    ("national_id", "Steuer-ID 86 095 742 719", "86 095 742 719"),  # Germany
    ("national_id", "Steuernummer: 12/345/67890", "12/345/67890"),
    ("national_id", "11010519491231002X", "11010519491231002X"),  # China
    ("national_id", "My Number: 1234 5678 9018", "1234 5678 9018"),  # Japan
    ("national_id", "NHS number 943 476 5919", "943 476 5919"),
    ("national_id", "11.222.333/0001-81", "11.222.333/0001-81"),  # Brazil, a business
    ("national_id", "112-233-445 95", "112-233-445 95"),  # Russia
    ("national_id", "TFN 123 456 782", "123 456 782"),  # Australia
    ("national_id", "BSN 111222333", "111222333"),  # Netherlands
    ("national_id", "HEGG560427MVZRRL04", "HEGG560427MVZRRL04"),  # Mexico
    ("national_id", "PAN ABCPE1234F", "ABCPE1234F"),  # India
    ("national_id", "my passport number is C01X00T47.", "C01X00T47"),
    ("national_id", "Reisepass C01X00T47", "C01X00T47"),
    ("national_id", "\u041f\u0430\u0441\u043f\u043e\u0440\u0442 45 07 123456", "45 07 123456"),
    ("email", "lucia arroba ejemplo punto es", "lucia arroba ejemplo punto es"),
    ("email", "x=kim%40example.org&y", "kim%40example.org"),
    ("email", "sam_at_example_dot_net", "sam_at_example_dot_net"),
    ("phone", "Handy: 0160 9876543", "0160 9876543"),
    ("phone", "num\u00e9ro est le 07.11.22.33.44", "07.11.22.33.44"),
    ("phone", "\u624b\u673a\u53f713912345678", "13912345678"),
    ("iban", "DE89-3704-0044-0532-0130-00", "DE89-3704-0044-0532-0130-00"),
    ("national_id", "CPF dele \u00e9 52998224725", "52998224725"),
    ("national_id", "\u0418\u041d\u041d 500100732259", "500100732259"),  # Russia, taxes
    ("national_id", "SV-Nummer 65 170839 J 003", "65 170839 J 003"),  # Germany, insurance
    ("national_id", "driver's license: D123-4567-8901", "D123-4567-8901"),
    ("secret", "Passwort ist Winter#2025", "Winter#2025"),
    ("secret", "PIN is 4821", "4821"),
    ("secret", "key sk-" + "a1B2" * 6, "sk-" + "a1B2" * 6),
    ("secret", "AKIA" + "ABCD1234EFGH5678", "AKIA" + "ABCD1234EFGH5678"),
    ("secret", "my password is hunter2!", "hunter2!"),
    ("secret", 'api_key = "x7y8z9aa"', "x7y8z9aa"),
    ("secret", "postgres://bob:pa55word@db.local/x", "bob:pa55word"),
    ("secret", "Authorization: Bearer " + "abc123" * 5, "abc123" * 5),
]

LEFT_ALONE = [
    "4111 1111 1111 1112",  # Luhn fails
    "DE89 3704 0044 0532 0130 01",  # mod 97 fails
    "666-12-3456 and 123-00-6789",  # numbers that the US does not give out
    "130 692 545",
    "text 12345678 characters",
    "pip 24.0.1.2 and libfoo 3.2.10.4",
    "65 170839 J 004 and 500100732258",
    "The password rules for 2024 changed.",
    "2345 6789 0125",
    "12345678A",
    "on 2024-01-02 03:04 or 01.02.2024 10:30",
    "pi is 3.14159265358979",
    "population 1,400,000,000 in 2021",
    "ISBN 978-3-16-148410-0",
    "1 2 3 4 5 6 7 8 9 10 11 12 13",
    "solve 123456789 + 9876543210",
    "127.0.0.1 and 0.0.0.0 and v1.2.3.4 and 1.2.3.400",
    "Version 1.2.3.4 and firmware: 10.15.7.2",
    "look at the dot com boom, dot the i at noon",
    "passport control opened in 2024; my passport expires 2030",
    "86095742710 and 11010519491231002X1 and 112-233-445 96",
    "std::vector and dead::beef at 12:30:45",
    "the password is required, the token is long",
    "@ann said hi; a@b is nothing",
    "ask me anything about the key ideas of chapter 12",
]


@pytest.mark.parametrize(("kind", "text", "found"), FOUND)
def test_finds_it_with_its_kind_and_its_place(kind: str, text: str, found: str) -> None:
    assert [(f.kind, text[f.start : f.end]) for f in find_pii(text)] == [(kind, found)]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_leaves_alone_what_is_no_personal_data(text: str) -> None:
    assert find_pii(text) == []


def test_redact_replaces_each_finding_and_nothing_else() -> None:
    text = "I am ann@example.org, card 4111111111111111; ann@example.org again"
    assert redact(text) == "I am [email], card [card]; [email] again"
    assert redact(redact(text)) == redact(text)


def test_redact_conversation_keeps_the_turns() -> None:
    turns = (Message("system", "Help."), Message("user", "I am ann@example.org"))
    redacted = (Message("system", "Help."), Message("user", "I am [email]"))
    assert redact_conversation(turns) == redacted


LONG = ["a.", "1 ", "1-", "DE89 ", "a@", "::", "password=a1", "-----BEGIN PRIVATE KEY-----"]
LONG += ["+49 30 1234567 ", "http://a:", "4111 1111 1111 1111 "]


@pytest.mark.parametrize("piece", LONG)
def test_long_texts_made_to_be_slow_are_not(piece: str) -> None:
    # A pattern that backtracks, or findings compared in pairs, would take minutes here, not
    # milliseconds.
    find_pii(piece * 20_000 + "!")
