"""Personal data and secrets in a prompt, by rules that are always on (A.1; the paper's are not
published).

Found: e-mail addresses, phone numbers, payment cards (Luhn), IBANs (mod 97), IPv4 and IPv6
addresses, national ids of eleven kinds (most with check digits), keys, tokens, passwords and
private keys. Not found: names, addresses, dates of birth, and whatever is spelled out in words;
that takes a model (`presidio.py` finds names and places with one).

The rules lean to finding too much over too little where a checksum cannot decide, since a prompt
lost costs little. Numbers without any mark of what they are (ten bare digits) are left alone.
"""

import ipaddress
import re
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from understudy.prompts import identifiers
from understudy.records import Conversation, Message

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of personal data: `Finding("email", 6, 20)` in "write ann@example.org"."""

    kind: str
    """What it is: email, phone, card, iban, ip, national_id or secret."""
    start: int
    """First character."""
    end: int
    """One past the last character."""


Finder = Callable[[str], list[Finding]]
"""All personal data in a text, by position."""


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    find: Callable[[str], Iterator[Span]]
    hints: tuple[str, ...] = ()
    """The rule runs only if one of these is in the lower-cased text."""
    num_digits: int = 0
    """The rule runs only if the text has so many digits."""


_start = attrgetter("start")


def find_pii(text: str) -> list[Finding]:
    """All personal data in `text`, by position; where rules overlap the more specific one wins."""
    lowered = text.lower()
    num_digits = _digits_up_to_nine(text)
    found: list[Finding] = []
    for rule in _RULES:
        if num_digits < rule.num_digits:
            continue
        if rule.hints and not any(hint in lowered for hint in rule.hints):
            continue
        for start, end in rule.find(text):
            place = bisect(found, start, key=_start)
            after_previous = place == 0 or found[place - 1].end <= start
            if after_previous and (place == len(found) or end <= found[place].start):
                found.insert(place, Finding(rule.kind, start, end))
    return found


def redact(text: str, find: Finder = find_pii) -> str:
    """`text` with each finding replaced by its kind: "write ann@example.org" -> "write [email]"."""
    parts, position = [], 0
    for finding in find(text):
        parts += [text[position : finding.start], f"[{finding.kind}]"]
        position = finding.end
    return "".join([*parts, text[position:]])


def redact_conversation(prompt: Conversation, find: Finder = find_pii) -> Conversation:
    """A prompt with every turn redacted."""
    if isinstance(prompt, str):
        return redact(prompt, find)
    return tuple(Message(turn.role, redact(turn.content, find)) for turn in prompt)


_SEPARATORS = str.maketrans("", "", " .+-")
_DIGIT_RUNS = re.compile(r"\d+")


def _digits_up_to_nine(text: str) -> int:
    count = 0
    for run in _DIGIT_RUNS.finditer(text):
        count += run.end() - run.start()
        if count >= 9:
            return 9
    return count


def _where(
    pattern: str, valid: Callable[[str], bool] | None = None, *, flags: int = 0
) -> Callable[[str], Iterator[Span]]:
    """A finder of the matches of `pattern` (of its group 1 if it has one) that are `valid`.

    `valid` sees the match in upper case without spaces, dots, plus signs and hyphens.
    """
    compiled = re.compile(pattern, flags | (re.ASCII if valid else 0))
    group = 1 if compiled.groups else 0

    def find(text: str) -> Iterator[Span]:
        for match in compiled.finditer(text):
            if valid is None or valid(match[group].translate(_SEPARATORS).upper()):
                yield match.span(group)

    return find


_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ A-Za-z0-9])")


def _find_ibans(text: str) -> Iterator[Span]:
    """IBANs, in one piece or in groups with single spaces; the country says how far to read."""
    for match in _IBAN_HEAD.finditer(text):
        length = identifiers.IBAN_LENGTHS.get(match[1].upper())
        if length is None:
            continue
        compact, end = "", match.start()
        while end < len(text) and len(compact) < length:
            character = text[end]
            if character.isascii() and character.isalnum():
                compact += character
            elif character != " " or text[end - 1] == " ":
                break
            end += 1
        alone = end == len(text) or not text[end].isalnum()
        if alone and len(compact) == length and identifiers.iban(compact.upper()):
            yield match.start(), end


_PHONE = re.compile(r"(?<![\w+.,/-])[+(]?\d(?:[ .()/\-]{0,3}\d){6,16}(?!\w)(?![.,:/-]\d)")
_PHONE_CUE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|call|fax|whatsapp|sms|text|ring|reach|dial)\b"
    r"(?:\s+(?:me|us|him|her|them))?(?:\s+numbers?)?(?:\s+(?:is|at|on|under))?[\s:.#]*$",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?!\d)")


def _find_phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        cue = _PHONE_CUE.search(text, max(0, match.start() - 40), match.start())
        if not _DATE.match(match[0]) and (cue or _is_phone(match[0])):
            yield match.span()


def _is_phone(text: str) -> bool:
    """Whether a number is written as phone numbers are: +49 30 1234567, (212) 555-0123, 020 7946
    0018."""
    groups = re.findall(r"\d+", text)
    digits = "".join(groups)
    if text.startswith("+"):
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    if digits.startswith("00"):
        return 10 <= len(digits) <= 17 and digits[2] != "0" and len(groups[0]) != 1
    if len(groups) == 1:
        return False
    national = digits[1:] if len(digits) == 11 and groups[0] == "1" else digits
    if len(national) == 10 and [len(group) for group in groups[-3:]] == [3, 3, 4]:
        return national[0] in "23456789" and national[3] in "23456789"
    return digits[0] == "0" and 9 <= len(digits) <= 12 and 2 <= len(groups[0]) <= 5


_IPV4 = re.compile(r"(?<![\w.])(?<!version )\d{1,3}(?:\.\d{1,3}){3}(?!\w)(?!\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")


def _find_ips(text: str) -> Iterator[Span]:
    """Addresses, less those that identify nobody: loopback, unspecified, network masks."""
    for match in _IPV4.finditer(text):
        if _is_address(match[0]) and not match[0].startswith(("0.", "127.", "255.")):
            yield match.span()
    for match in _IPV6.finditer(text):
        # Four characters first and a digit somewhere: "dead::beef" in code is a scope, not an
        # address.
        first = match[0].partition(":")[0]
        if len(first) == 4 and re.search(r"\d", match[0]) and _is_address(match[0]):
            yield match.span()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_TOKENS = "|".join(
    (
        r"sk-[A-Za-z0-9_-]{20,}",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"gh[pousr]_[A-Za-z0-9]{30,}",
        r"github_pat_[A-Za-z0-9_]{30,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"AIza[0-9A-Za-z_-]{35}",
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"npm_[A-Za-z0-9]{30,}",
        r"pypi-[A-Za-z0-9_-]{40,}",
        r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",
    )
)
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----)[\s\S]){0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)
_ASSIGNED = (
    r"(?:password|passwd|passphrase|passcode|pwd|secret(?:[ _-]?key)?|token|api[ _-]?key|"
    r"access[ _-]?key|private[ _-]?key|credentials?)[\"']?\s*(?:=|:|\bis\b)\s*[\"']?"
    r"((?=[^\s\"',;]{0,200}[0-9])(?=[^\s\"',;]{0,200}[A-Za-z!@#$%^&*_-])[^\s\"',;]{6,200})"
)
_BEARER = r"\bbearer\s+([A-Za-z0-9._~+/-]{20,}=*)"
_CREDENTIALS_IN_URL = r"\b[a-z][a-z0-9+.-]{1,20}://([^\s/:@]{1,100}:[^\s/@]{1,100})@"
_EMAIL = r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,5}[^\W\d_]{2,24}(?![\w-])"
_CARD = r"(?<![\d.])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)"
_TOKEN_HINTS = (
    *(
        "sk-",
        "akia",
        "asia",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
    ),
    *("aiza", "k_live_", "k_test_", "hf_", "npm_", "pypi-", "eyj"),
)
_ASSIGNED_HINTS = ("pass", "pwd", "secret", "token", "key", "credential")

_NATIONAL_IDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", identifiers.fr_nir),
    (r"(?i:[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])", identifiers.it_codice),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", identifiers.br_cpf),
    (r"[2-9]\d{3}[ -]\d{4}[ -]\d{4}", identifiers.in_aadhaar),
    (r"(?:\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4})", identifiers.us_ssn),
    (r"(?:\d{3}-\d{3}-\d{3}|\d{3} \d{3} \d{3})", identifiers.ca_sin),
    (r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", identifiers.uk_nino),
    (r"(?:\d{8}|[XYZ]\d{7})-?[A-Z]", identifiers.es_dni),
    (r"\d{11}", identifiers.pl_pesel),
    (r"(?:\d{2})?\d{6}[-+]\d{4}", identifiers.se_personal),
)
_SSN_WITH_CUE = r"\b(?:ssn|social security(?: number)?)(?: is|:)?\s*(\d{9})(?!\d)"

_RULES = (
    _Rule("secret", _where(_PRIVATE_KEY), hints=("private key",)),
    _Rule("secret", _where(rf"(?<![A-Za-z0-9])(?:{_TOKENS})"), hints=_TOKEN_HINTS),
    _Rule("secret", _where(_CREDENTIALS_IN_URL, flags=re.IGNORECASE), hints=("://",)),
    _Rule("secret", _where(_ASSIGNED, flags=re.IGNORECASE), hints=_ASSIGNED_HINTS, num_digits=1),
    _Rule("secret", _where(_BEARER, flags=re.IGNORECASE), hints=("bearer",)),
    _Rule("email", _where(_EMAIL), hints=("@",)),
    _Rule("iban", _find_ibans, num_digits=8),
    _Rule("card", _where(_CARD, identifiers.card), num_digits=9),
    *(
        _Rule("national_id", _where(rf"(?<![\w+-]){pattern}(?![\w-])", check), num_digits=6)
        for pattern, check in _NATIONAL_IDS
    ),
    _Rule(
        "national_id",
        _where(_SSN_WITH_CUE, identifiers.us_ssn, flags=re.IGNORECASE),
        hints=("ssn", "social security"),
        num_digits=9,
    ),
    _Rule("phone", _find_phones, num_digits=7),
    _Rule("ip", _find_ips, num_digits=3),
)
"""In order of precedence: the first rule to claim a stretch of text names it."""
