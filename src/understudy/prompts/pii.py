"""Finds personal data and secrets in a prompt by rules that are always on (A.1; the paper's are not
published).

Found: e-mail addresses, also obfuscated ones (`jane [at] example [dot] com`), phone numbers,
payment cards (Luhn), IBANs (mod 97), IPv4 and IPv6 addresses, national ids of twenty kinds (most
with check digits; those that look like any other number only beside a word that names them),
passport numbers beside such a word, keys, tokens, passwords and private keys. Not found: names,
addresses, dates of birth, and whatever is spelled out in words; that takes a model (`presidio.py`
uses one to find names and places).

Where no checksum can decide, the rules err towards finding too much, since losing a prompt costs
little. They ignore numbers without any sign of what they are (ten bare digits).
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
    """The rule runs only if the lower-cased text contains one of these."""
    num_digits: int = 0
    """The rule runs only if the text has this many digits."""


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


_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ A-Za-z0-9-])")


def _find_ibans(text: str) -> Iterator[Span]:
    """IBANs, in one piece or in groups; the country determines the length."""
    for match in _IBAN_HEAD.finditer(text):
        length = identifiers.IBAN_LENGTHS.get(match[1].upper())
        if length is None:
            continue
        compact, end = "", match.start()
        while end < len(text) and len(compact) < length:
            character = text[end]
            if character.isascii() and character.isalnum():
                compact += character
            elif character not in " -" or text[end - 1] in " -":
                break
            end += 1
        alone = end == len(text) or not text[end].isalnum()
        if alone and len(compact) == length and identifiers.iban(compact.upper()):
            yield match.start(), end


_PHONE = re.compile(r"(?<![A-Za-z0-9_+.,/-])[+(]?\d(?:[ .()/\-]{0,3}\d){6,16}(?!\w)(?![.,:/-]\d)")
_PHONE_WORDS = (
    "phone|telephone|tel|mobile|cell|fax|whatsapp|sms|dial|zap|handy(?:nummer)?|telefon\\w*|"
    "t\u00e9l\u00e9phone|portable|num\u00e9ro|m\u00f3vil|tel\u00e9fono|celular|cellulare|"
    "telem\u00f3vel|telefone|\u0442\u0435\u043b\u0435\u0444\u043e\u043d\\w*|\u043d\u043e\u043c\u0435\u0440|"
    "\u624b\u673a\u53f7?\u7801?|\u7535\u8bdd|\u96fb\u8a71(?:\u756a\u53f7)?|\uc804\ud654(?:\ubc88\ud638)?"
)
_PHONE_CUE = re.compile(
    rf"(?<![A-Za-z0-9_])(?:(?:{_PHONE_WORDS})(?:\s+(?:numbers?|nr|no)\b\.?)?|"
    r"(?:call|text|ring|reach)\s+(?:me|us|him|her|them))"
    r"(?:\s+(?:is|at|on|under|est|le|la|ist|lautet|es|el|il|to|\u00e8|\u00e9)|[\u662f\u306f])*[\s:.#\uff1a]*$",
    re.IGNORECASE,
)
"""Nouns, and verbs with an object: "text 12345678 characters" is not about a phone."""
_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?!\1?\d)")


def _find_phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        cue = _PHONE_CUE.search(text, max(0, match.start() - 40), match.start())
        if not _DATE.match(match[0]) and (cue or _is_phone(match[0])):
            yield match.span()


def _is_phone(text: str) -> bool:
    """Whether a number is formatted like a phone number: +49 30 1234567, (212) 555-0123, 020 7946
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


_VERSION = re.compile(
    r"\b(?:versions?|ver|v|releases?|builds?|firmware|driver|patch|upgraded? (?:to|from)|"
    r"updated? (?:to|from)|section|chapter|clause)\b\.?"
    r"(?:\s+(?:number|no\.?|is|to|from))?[\s:=#]*$",
    re.IGNORECASE,
)
_ADDRESS_WORD = re.compile(
    r"\b(?:ips?|ipv4|address(?:es)?|adresse|server|host|router|gateway|client|subnet|network|ssh|ping|"
    r"requests?|visitors?|users?|blocked|banned|dns|proxy|vpn|port)\b|://|@",
    re.IGNORECASE,
)
_SMALL = 64
"""Four numbers below this are more often a version than an address, unless a nearby word says
otherwise."""
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w)(?!\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")


def _find_ips(text: str) -> Iterator[Span]:
    """Addresses, except those that identify nobody: loopback, unspecified, network masks."""
    for match in _IPV4.finditer(text):
        version = bool(_VERSION.search(text, max(0, match.start() - 40), match.start()))
        nobody = match[0].startswith(("0.", "127.", "255."))
        near = text[max(0, match.start() - 40) : match.end() + 20]
        if all(int(part) < _SMALL for part in match[0].split(".")):
            version = version or not _ADDRESS_WORD.search(near)
        if _is_address(match[0]) and not nobody and not version:
            yield match.span()
    for match in _IPV6.finditer(text):
        # Require four characters first, and a digit somewhere: "dead::beef" in code is a scope.
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
_PASSWORD = (
    "passwor[dt]|passwd|passphrase|passcode|pwd|kennwort|mot de passe|contrase[\u00f1n]a|senha|"
    "parola|wachtwoord|has\u0142o|l\u00f6senord|\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801|\u5bc6\u78bc|"
    "\u30d1\u30b9\u30ef\u30fc\u30c9|\ube44\ubc00\ubc88\ud638"
)
_PIN = r"\bpin(?:[ -]?(?:code|number))?\s*(?:=|:|\bis\b)\s*(\d{4,8})(?!\d)"
_MYSQL = r"\bmysql\w*\b[^\n]{0,80}\s-p(?!assword\b|ort\b)(\S{4,100})"
_BARE_PASSWORD = (
    rf"(?:{_PASSWORD})\s+"
    r"((?=[^\s\"',;]{0,200}[0-9])(?=[^\s\"',;]{0,200}[A-Za-z])[^\s\"',;]{8,200})"
)
_ASSIGNED = (
    rf"(?:{_PASSWORD}|secret(?:[ _-]?key)?|token|api[ _-]?key|access[ _-]?key|private[ _-]?key|"
    r"credentials?)[\"']?\s*(?:[=:\uff1a\u662f\u306f]|\b(?:is|ist|es|est|\u00e8|\u00e9)\b)\s*[\"']?"
    r"((?=[^\s\"',;]{0,200}[0-9])(?=[^\s\"',;]{0,200}[A-Za-z!@#$%^&*_-])[^\s\"',;]{6,200})"
)
_BEARER = r"\bbearer\s+([A-Za-z0-9._~+/-]{20,}=*)"
_CREDENTIALS_IN_URL = r"\b[a-z][a-z0-9+.-]{1,20}://([^\s/:@]{1,100}:[^\s/@]{1,100})@"
_EMAIL = (
    r"(?<![\w.+%-])[\w.+%-]{1,64}(?:[@\uff20]|%40)(?:[\w-]{1,63}\.){1,5}[^\W\d_]{2,24}(?![\w-])"
)
_AT_WORD = (
    r"(?:arrobas?|arobase|chiocciola|klammeraffe|\u00e4t|ma\u0142pa|"
    r"\u0441\u043e\u0431\u0430\u043a\u0430)"
)
_DOT_WORD = r"(?:dot|DOT|punkt|point|punto|ponto|kropka|\u0442\u043e\u0447\u043a\u0430)"
_MARKED_AT = rf"[\[({{<]\s*(?:at|AT|@|{_AT_WORD})\s*[\])}}>]"
_MARKED_DOT = rf"(?:[\[({{<]\s*(?:{_DOT_WORD}|\.)\s*[\])}}>]|\s(?:dot|DOT)\s)"
_TOP = (
    "com|org|net|edu|gov|info|biz|io|ai|dev|app|me|eu|uk|us|de|fr|it|es|nl|be|at|ch|pl|se|no|dk|"
    "fi|pt|ie|cz|gr|ru|ua|tr|in|cn|jp|kr|au|nz|ca|mx|br|ar|za"
)
_LABEL = r"[\w-]{1,63}"
_OBFUSCATED = (
    rf"(?<![\w.+%-])[\w+%-]{{1,40}}(?:(?:\.|\s*{_MARKED_DOT}\s*)[\w+%-]{{1,40}}){{0,3}}(?:"
    # (at) in brackets, then any dots;
    rf"\s*{_MARKED_AT}\s*{_LABEL}(?:(?:\.|\s*{_MARKED_DOT}\s*){_LABEL}){{0,3}}"
    rf"(?:\.|\s*{_MARKED_DOT}\s*)[^\W\d_]{{2,24}}"
    # or a word or sign for "at", then dots that are marked
    r"|(?:\s(?:at|AT)\s(?!(?:the|a|an|this|that|my|your)\s)|\s?@\s?)"
    rf"{_LABEL}(?:\s*{_MARKED_DOT}\s*{_LABEL}){{0,2}}\s*{_MARKED_DOT}\s*(?i:{_TOP}))(?![\w-])"
)
_SPELLED = (
    # with a word for "at" that has no other meaning, or between underscores
    rf"(?<![\w.+%-])[\w.+%-]{{1,40}}\s{_AT_WORD}\s{_LABEL}(?:\s{_DOT_WORD}\s{_LABEL}){{0,2}}"
    rf"\s{_DOT_WORD}\s(?i:{_TOP})(?![\w-])"
    rf"|(?<![\w.+%-])[A-Za-z0-9.+-]{{1,40}}_at_[A-Za-z0-9-]{{1,63}}_dot_(?i:{_TOP})(?![\w-])"
)
_SPELLED_HINTS = (
    *("arroba", "arobase", "chiocciola", "klammeraffe", "\u00e4t", "ma\u0142pa", "_at_"),
    "\u0441\u043e\u0431\u0430\u043a\u0430",
)
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
_PASSWORD_HINTS = (
    *("pass", "pwd", "kennwort", "contrase", "senha", "parola", "wachtwoord", "has\u0142o"),
    *("l\u00f6senord", "\u043f\u0430\u0440\u043e\u043b\u044c", "\u5bc6\u7801", "\u5bc6\u78bc"),
    *("\u30d1\u30b9\u30ef\u30fc\u30c9", "\ube44\ubc00\ubc88\ud638"),
)
_ASSIGNED_HINTS = (*_PASSWORD_HINTS, "secret", "token", "key", "credential")

_NATIONAL_IDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", identifiers.fr_nir),
    (r"(?i:[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])", identifiers.it_codice),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", identifiers.br_cpf),
    (r"[2-9]\d{3}[ -]\d{4}[ -]\d{4}", identifiers.in_aadhaar),
    (r"(?:\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4})", identifiers.us_ssn),
    (r"(?:\d{3}-\d{3}-\d{3}|\d{3} \d{3} \d{3})", identifiers.ca_sin),
    (r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", identifiers.uk_nino),
    (r"(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]", identifiers.es_dni),
    (r"\d{11}", identifiers.pl_pesel),
    (r"(?:\d{2})?\d{6}[-+]\d{4}", identifiers.se_personal),
    (r"(?:[1-9]\d{10}|[1-9]\d \d{3} \d{3} \d{3})", identifiers.de_tax),
    (r"[1-9]\d{16}[\dXx]", identifiers.cn_resident),
    (r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}", lambda text: identifiers.br_cnpj(text.replace("/", ""))),
    (r"\d{6}-[1-8]\d{6}", identifiers.kr_resident),
    (r"\d{3}-\d{3}-\d{3} \d{2}", identifiers.ru_snils),
    (r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z\d]\d", identifiers.mx_curp),
)
_PAN = r"(?<![\w-])[A-Z]{3}P[A-Z]\d{4}[A-Z](?![\w-])"
"""India's tax number of a person."""
_NUMBER_WORD = (
    r"(?:\s*(?:(?:numbers?|nummer|num\u00e9ro|nr|no|num|id)\b\.?|n\u00ba|n\u00b0|#|\([^()]{1,20}\)|"
    r"\u53f7\u7801?|\u756a\u53f7|\ubc88\ud638|\u306f)){0,2}"
)
_IS = r"\s*(?:\s(?:is|was|are|i[s]t|est|es|\u00e8|\u00e9)\s|[:=#,\uff1a])?\s*"
_LOOSE = r"(?:\W{1,3}[^\W\d]{1,12}\.?){0,2}[\W_]{1,3}"
"""Up to two words in between, where a checksum decides."""


def _beside(words: str, number: str) -> str:
    """A number that only a preceding word makes personal: group 1 is the number."""
    return rf"(?<!\w)(?:{words}){_NUMBER_WORD}{_IS}({number})(?![\w-])"


def _near(words: str, number: str) -> str:
    """The same for a number with a checksum: words may come in between."""
    return rf"(?<!\w)(?:{words}){_NUMBER_WORD}(?:{_IS}|{_LOOSE})({number})(?![\w-])"


def _is_document(text: str) -> bool:
    """Whether it may be a document's number: at least four digits, or nine characters with one."""
    digits = sum(character.isdigit() for character in text)
    return digits >= 4 or (digits >= 1 and len(text) == 9)


_PASSPORT = _beside(
    r"passports?|passeport|pasaporte|passaporto|passaporte|reisepass(?:nummer)?|paspoort(?:nummer)?|"
    r"[\u041f\u043f]\u0430\u0441\u043f\u043e\u0440\u0442|\u62a4\u7167|\u8b77\u7167|\u30d1\u30b9\u30dd\u30fc\u30c8|\uc5ec\uad8c",
    r"[A-Z]{0,3} ?\d[A-Z0-9]{4,9}|[A-Z0-9]{9}|\d{2} ?\d{2} ?\d{6}",
)
_LICENCE = _beside(
    r"driv(?:ing|er'?s?) licen[cs]e|(?:national )?id(?:entity)? card|f\u00fchrerschein|"
    r"personalausweis(?:nummer)?|carte d'identit\u00e9|permis de conduire|patente di guida",
    r"[A-Z0-9][A-Z0-9-]{5,17}",
)
_LICENCE_HINTS = (
    *("licen", "card", "f\u00fchrerschein", "ausweis", "identit", "permis", "patente"),
)
_NAMED_IDS: tuple[tuple[tuple[str, ...], str, str, Callable[[str], bool]], ...] = (
    (
        ("steuer", "tax"),
        r"steuer-?(?:nummer|nr)\.?|(?:german )?tax (?:number|no\.?)",
        r"\d{2,3}/\d{3,4}/\d{4,5}",
        lambda text: len(text.replace("/", "")) in (10, 11),
    ),
    (
        (
            "my number",
            "mynumber",
            "\u30de\u30a4\u30ca\u30f3\u30d0\u30fc",
            "\u500b\u4eba\u756a\u53f7",
        ),
        r"my ?number|\u30de\u30a4\u30ca\u30f3\u30d0\u30fc|\u500b\u4eba\u756a\u53f7",
        r"\d{4}[ -]?\d{4}[ -]?\d{4}",
        identifiers.jp_my_number,
    ),
    (("nhs",), r"nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", identifiers.uk_nhs),
    (("tfn", "tax file"), r"tfn|tax file", r"\d{3} ?\d{3} ?\d{3}", identifiers.au_tfn),
    (("bsn", "burgerservice"), r"bsn|burgerservice(?:nummer)?", r"\d{9}", identifiers.nl_bsn),
    (("cpf",), r"cpf", r"\d{11}", identifiers.br_cpf),
    (("cnpj",), r"cnpj", r"\d{14}", identifiers.br_cnpj),
    (("ssn", "social"), r"ssn|social(?: security)?", r"\d{9}", identifiers.us_ssn),
    (
        ("\uc8fc\ubbfc",),
        r"\uc8fc\ubbfc(?:\ub4f1\ub85d)?(?:\ubc88\ud638)?",
        r"\d{13}",
        identifiers.kr_resident,
    ),
    (
        ("\u0438\u043d\u043d", "inn"),
        r"[\u0438\u0418][\u043d\u041d]{2}|inn",
        r"\d{12}",
        identifiers.ru_inn,
    ),
    (
        ("versicherung", "sv-nummer", "rvnr"),
        r"(?:sozial|renten)versicherungs(?:nummer|nr)\.?|sv-nummer|rvnr",
        r"\d{2} ?\d{6} ?[A-Z] ?\d{3}",
        identifiers.de_insurance,
    ),
    (
        ("snils", "\u0441\u043d\u0438\u043b\u0441"),
        r"snils|\u0441\u043d\u0438\u043b\u0441",
        r"\d{11}",
        identifiers.ru_snils,
    ),
    (("aadhaar", "aadhar"), r"aadha+r", r"[2-9]\d{11}", identifiers.in_aadhaar),
)
"""Numbers that look like any other: hints, the words that name them, the number, its checksum."""
_PASSPORT_HINTS = (
    *("passport", "passeport", "pasaporte", "passaport", "reisepass", "paspoort"),
    *(
        "\u043f\u0430\u0441\u043f\u043e\u0440\u0442",
        "\u62a4\u7167",
        "\u8b77\u7167",
        "\u30d1\u30b9\u30dd\u30fc\u30c8",
        "\uc5ec\uad8c",
    ),
)

_RULES = (
    _Rule("secret", _where(_PRIVATE_KEY), hints=("private key",)),
    _Rule("secret", _where(rf"(?<![A-Za-z0-9])(?:{_TOKENS})"), hints=_TOKEN_HINTS),
    _Rule("secret", _where(_CREDENTIALS_IN_URL, flags=re.IGNORECASE), hints=("://",)),
    _Rule("secret", _where(_ASSIGNED, flags=re.IGNORECASE), hints=_ASSIGNED_HINTS, num_digits=1),
    _Rule("secret", _where(_BARE_PASSWORD, flags=re.IGNORECASE), _PASSWORD_HINTS, num_digits=1),
    _Rule("secret", _where(_PIN, flags=re.IGNORECASE), hints=("pin",), num_digits=4),
    _Rule("secret", _where(_MYSQL), hints=("mysql",)),
    _Rule("secret", _where(_BEARER, flags=re.IGNORECASE), hints=("bearer",)),
    _Rule("email", _where(_EMAIL), hints=("@", "\uff20", "%40")),
    _Rule("email", _where(_SPELLED), hints=_SPELLED_HINTS),
    _Rule(
        "email",
        _where(_OBFUSCATED),
        hints=(
            *("[at", "(at", "{at", "<at", "[@", "(@", "[ at", "( at", "dot"),
            *("[ar", "(ar", "[ch", "(ch"),
        ),
    ),
    _Rule("iban", _find_ibans, num_digits=8),
    _Rule("card", _where(_CARD, identifiers.card), num_digits=9),
    *(
        _Rule("national_id", _where(rf"(?<![\w+-]){pattern}(?![\w-])", check), num_digits=6)
        for pattern, check in _NATIONAL_IDS
    ),
    _Rule(
        "national_id",
        _where(_PASSPORT, _is_document, flags=re.IGNORECASE),
        hints=_PASSPORT_HINTS,
        num_digits=1,
    ),
    _Rule(
        "national_id",
        _where(_LICENCE, _is_document, flags=re.IGNORECASE),
        hints=_LICENCE_HINTS,
        num_digits=4,
    ),
    *(
        _Rule(
            "national_id",
            _where(_near(words, number), check, flags=re.IGNORECASE),
            hints=hints,
            num_digits=9,
        )
        for hints, words, number, check in _NAMED_IDS
    ),
    _Rule("national_id", _where(_PAN), num_digits=4),
    _Rule("phone", _find_phones, num_digits=7),
    _Rule("ip", _find_ips, num_digits=3),
)
"""In order of precedence: the first rule to claim a stretch of text names it."""
