"""Check digits of the numbers that identify a person or an account.

Each function takes a number without separators and tells whether its check digits and the parts
with a fixed meaning are valid. Without these checks a rule for card numbers, say, would match every
long number.
"""

IBAN_LENGTHS = {
    **dict(AD=24, AE=23, AL=28, AT=20, AZ=28, BA=20, BE=16, BG=22, BH=22, BR=29, BY=28, CH=21),
    **dict(CR=22, CY=28, CZ=24, DE=22, DK=18, DO=28, EE=20, EG=29, ES=24, FI=18, FO=18, FR=27),
    **dict(GB=22, GE=22, GI=23, GL=18, GR=27, GT=28, HR=21, HU=28, IE=22, IL=23, IQ=23, IS=26),
    **dict(IT=27, JO=30, KW=30, KZ=20, LB=28, LC=32, LI=21, LT=20, LU=20, LV=21, LY=25, MC=27),
    **dict(MD=24, ME=22, MK=19, MR=27, MT=31, MU=30, NL=18, NO=15, PK=24, PL=28, PS=29, PT=25),
    **dict(QA=29, RO=24, RS=22, SA=24, SC=31, SE=24, SI=19, SK=24, SM=27, ST=25, SV=28, TL=23),
    **dict(TN=24, TR=26, UA=29, VA=22, VG=24, XK=20),
}
"""Characters of an IBAN by country (ISO 13616 registry)."""

_CODICE_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21),
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22),
            *(25, 24, 23),
        ),
        strict=True,
    )
)
_VERHOEFF_PRODUCT = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_VERHOEFF_TURN = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)


def luhn(digits: str) -> bool:
    """The checksum of payment cards, Canadian SINs and Swedish personal numbers."""
    total = 0
    for position, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if position % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(digits: str) -> bool:
    """A payment card: an issuer's prefix at one of that issuer's lengths, and Luhn."""
    head2, head3, head4 = int(digits[:2]), int(digits[:3]), int(digits[:4])
    length = len(digits)
    issued = (
        (digits[0] == "4" and length in (13, 16, 19))
        or ((51 <= head2 <= 55 or 2221 <= head4 <= 2720) and length == 16)
        or (head2 in (34, 37) and length == 15)
        or ((head2 in (36, 38, 39) or 300 <= head3 <= 305) and length == 14)
        or (3528 <= head4 <= 3589 and length == 16)
        or (head2 in range(60, 70) and 16 <= length <= 19)
    )
    return issued and luhn(digits)


def iban(text: str) -> bool:
    """An IBAN: its country's length, and the remainder 1 modulo 97 (ISO 7064)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def us_ssn(digits: str) -> bool:
    """A US social security number, or an ITIN (9xx with its own middle numbers)."""
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    if area >= 900:
        return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
    return area not in (0, 666) and group > 0 and serial > 0


def uk_nino(text: str) -> bool:
    """A British national insurance number: valid letters, six digits, A to D."""
    return text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def ca_sin(digits: str) -> bool:
    """A Canadian social insurance number."""
    return digits[0] not in "08" and luhn(digits)


def br_cpf(digits: str) -> bool:
    """A Brazilian CPF: two check digits modulo 11."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digits[i]) * (length + 1 - i) for i in range(length))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def es_dni(text: str) -> bool:
    """A Spanish DNI or NIE: the letter is the number modulo 23."""
    number = int(text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1]


def it_codice(text: str) -> bool:
    """An Italian codice fiscale: the last letter is a sum over the others modulo 26."""
    odd = sum(_CODICE_ODD[character] for character in text[0:15:2])
    even = sum(int(c) if c.isdigit() else ord(c) - ord("A") for c in text[1:15:2])
    return chr(ord("A") + (odd + even) % 26) == text[15]


def fr_nir(text: str) -> bool:
    """A French social security number: the key is 97 minus the number modulo 97."""
    number = int(text[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(text[13:])


def in_aadhaar(digits: str) -> bool:
    """An Indian Aadhaar number: Verhoeff's checksum."""
    check = 0
    for position, digit in enumerate(map(int, reversed(digits))):
        turned = int(_VERHOEFF_TURN[position % 8][digit])
        check = int(_VERHOEFF_PRODUCT[check][turned])
    return check == 0


def pl_pesel(digits: str) -> bool:
    """A Polish PESEL: a possible date of birth and a weighted checksum."""
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    total = sum(int(d) * w for d, w in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True))
    return 1 <= month <= 12 and 1 <= day <= 31 and total % 10 == 0


def se_personal(digits: str) -> bool:
    """A Swedish personal number (10 or 12 digits): a possible date of birth, and Luhn."""
    digits = digits[-10:]
    month, day = int(digits[2:4]), int(digits[4:6])
    return 1 <= month <= 12 and (1 <= day <= 31 or 61 <= day <= 91) and luhn(digits)


def de_tax(digits: str) -> bool:
    """A German tax identification number: of the first ten digits one comes two or three times
    (never three in a row) and the others at most once; check digit by ISO 7064 (mod 11, 10)."""
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if digits[0] == "0" or counts[-1] not in (2, 3) or counts[:-1] != [1] * (len(counts) - 1):
        return False
    if any(digit * 3 in digits[:10] for digit in set(digits)):
        return False
    product = 10
    for digit in map(int, digits[:10]):
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def cn_resident(text: str) -> bool:
    """A Chinese resident identity number: a possible date of birth, and modulo 11 (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(d) * w for d, w in zip(text[:17], weights, strict=True))
    month, day = int(text[10:12]), int(text[12:14])
    born = text[6:8] in ("18", "19", "20") and 1 <= month <= 12 and 1 <= day <= 31
    return born and "10X98765432"[total % 11] == text[17]


def jp_my_number(digits: str) -> bool:
    """A Japanese individual number: 11 digits and a check digit modulo 11."""
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(int(d) * w for d, w in zip(digits[:11], weights, strict=True)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(digits[11])


def uk_nhs(digits: str) -> bool:
    """A British NHS number: modulo 11."""
    total = sum(int(d) * w for d, w in zip(digits[:9], range(10, 1, -1), strict=True))
    return (11 - total % 11) % 11 == int(digits[9]) and len(set(digits)) > 1


def br_cnpj(digits: str) -> bool:
    """A Brazilian CNPJ, as of a one-person business: two check digits modulo 11."""
    for length in (12, 13):
        weights = [(length - 1 - i) % 8 + 2 for i in range(length)]
        rest = sum(int(d) * w for d, w in zip(digits[:length], weights, strict=True)) % 11
        if (0 if rest < 2 else 11 - rest) != int(digits[length]):
            return False
    return len(set(digits)) > 1


def kr_resident(digits: str) -> bool:
    """A South Korean resident registration number: a possible date of birth, and modulo 11."""
    month, day = int(digits[2:4]), int(digits[4:6])
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    total = sum(int(d) * w for d, w in zip(digits[:12], weights, strict=True))
    return 1 <= month <= 12 and 1 <= day <= 31 and (11 - total % 11) % 10 == int(digits[12])


def ru_snils(digits: str) -> bool:
    """A Russian SNILS: a weighted sum modulo 101."""
    total = sum(int(d) * w for d, w in zip(digits[:9], range(9, 0, -1), strict=True)) % 101
    return total % 100 == int(digits[9:])


def ru_inn(digits: str) -> bool:
    """A Russian taxpayer's number of a person: two check digits modulo 11."""
    weights = (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
    for length in (10, 11):
        pairs = zip(digits[:length], weights[11 - length :], strict=True)
        if sum(int(d) * w for d, w in pairs) % 11 % 10 != int(digits[length]):
            return False
    return True


def de_insurance(text: str) -> bool:
    """A German social insurance number: the letter as two digits, cross sums modulo 10."""
    letter = f"{ord(text[8]) - ord('A') + 1:02}"
    digits = text[:8] + letter + text[9:11]
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    products = (int(d) * w for d, w in zip(digits, weights, strict=True))
    return sum(sum(divmod(product, 10)) for product in products) % 10 == int(text[11])


def au_tfn(digits: str) -> bool:
    """An Australian tax file number: a weighted sum modulo 11."""
    weights = (1, 4, 3, 7, 5, 8, 6, 9, 10)
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % 11 == 0


def mx_curp(text: str) -> bool:
    """A Mexican CURP: a possible date of birth, and modulo 10."""
    alphabet = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(alphabet.index(c) * (18 - place) for place, c in enumerate(text[:17]))
    born = 1 <= int(text[6:8]) <= 12 and 1 <= int(text[8:10]) <= 31
    return born and str((10 - total % 10) % 10) == text[17]


def nl_bsn(digits: str) -> bool:
    """A Dutch BSN: the eleven test."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(int(d) * w for d, w in zip(digits, weights, strict=True))
    return total % 11 == 0 and digits != "0" * 9
