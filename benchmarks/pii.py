"""How much personal data the rules find, and how much else they take for it.

    python benchmarks/pii.py

The list is our own, with invented people and numbers from public documentation of each format. In
`FOUND` the personal data stands between « and »; `ALONE` holds none. Found counts when a finding
overlaps the marked text; every finding that overlaps none is a false alarm.
"""

import argparse
from collections import Counter

from understudy.prompts.pii import find_pii

FOUND = """
email|Write to «ann.lee+news@mail.example.org» and copy me.
email|Schreib mir: «jürgen@beispiel.example.de», danke.
email|«o_neil-99@sub.domain.example.com»; that is all.
email|contact: «jane [at] example [dot] com»
email|«jane(at)example.com» for the invoice
email|reach me: «jane dot doe at example dot org»
email|schreib an «max.muster (at) beispiel (punkt) de»
email|it is «sam AT example DOT net», no spaces
email|«kim{at}example{dot}co.kr» works too
email|mail «lee @ example dot com» about the flat
phone|Ring me on «+49 30 1234567» tonight.
phone|My number is «(212) 555-0123» until five.
phone|call «1-800-555-0199» for a refund
phone|«+44 (0)20 7946 0018» is the office
phone|Mon portable : «06 12 34 56 78»
phone|whatsapp «+91 98765 43210» please
phone|the old one is gone, tel «020 7946 0018» is new
phone|Text me at «555-0123»
phone|«+86 138 0013 8000» is my mobile in Beijing
phone|«0033 1 23 45 67 89» from abroad
card|Charge «4111 1111 1111 1111», expiry next year.
card|card «5500-0000-0000-0004» was refused
card|«378282246310005» is an Amex
card|he paid with «6011111111111117»
iban|Transfer to «DE89 3704 0044 0532 0130 00» by Friday.
iban|IBAN «GB82 WEST 1234 5698 7654 32»
iban|«FR14 2004 1010 0505 0001 3M02 606»
ip|The request came from «203.0.113.77» at noon.
ip|blocked «2001:0db8:85a3::8a2e:370:7334» again
ip|server at «192.168.1.10» port 22
national_id|My SSN is «123-45-6789».
national_id|social security number: «123456789»
national_id|NI number «AB 12 34 56 C»
national_id|SIN «130 692 544»
national_id|CPF: «529.982.247-25»
national_id|o CPF dele é «52998224725»
national_id|CNPJ «11.222.333/0001-81»
national_id|DNI «12345678Z»
national_id|codice fiscale «RSSMRA85T10A562S»
national_id|numéro de sécu «2 55 08 14 168 025 38»
national_id|aadhaar «2345 6789 0124»
national_id|my PAN is «ABCPE1234F»
national_id|PESEL «44051401359»
national_id|personnummer «811218-9876»
national_id|Steuer-ID «86 095 742 719»
national_id|meine Steueridentifikationsnummer lautet «86095742719»
national_id|Steuernummer: «12/345/67890»
national_id|身份证号 «11010519491231002X»
national_id|マイナンバーは «1234 5678 9018»
national_id|NHS number «943 476 5919»
national_id|СНИЛС «112-233-445 95»
national_id|TFN «123 456 782»
national_id|BSN «111222333»
national_id|CURP «HEGG560427MVZRRL04»
national_id|passport number «C01X00T47»
national_id|Passport no. «123456789», issued in Leeds
national_id|my passport is «AB123456»
national_id|Reisepassnummer «C01X00T47»
national_id|mon passeport : «12AB34567»
national_id|pasaporte «AAA123456»
national_id|паспорт «45 07 123456»
national_id|护照号码 «E12345678»
secret|the key is «sk-a1B2a1B2a1B2a1B2a1B2a1B2»
secret|aws «AKIAABCD1234EFGH5678»
secret|my password is «hunter2!»
secret|api_key = "«x7y8z9aa»"
secret|postgres://«bob:pa55word»@db.local/x
secret|Authorization: Bearer «abc123abc123abc123abc123»
secret|pwd: «Tr0ub4dor&3»
name|Please write to «Maria Gonzalez» about it.
address|I live at «12 Harbour Street, Leeds».
birthday|I was born on «3 March 1987».
email|Spelled out: «j a n e at example dot com»
phone|Call «five five five oh one two three».
""".strip()

ALONE = """
Version 1.2.3.4 fixes the crash.
We upgraded to 10.15.7.2 last week.
Firmware: 2.0.14.1
See section 4.2.1.3 of the manual.
Listen on 127.0.0.1 or 0.0.0.0, mask 255.255.255.0.
The build number is 20240131.
4111 1111 1111 1112 is not a card.
DE89 3704 0044 0532 0130 01 fails.
On 2024-01-02 at 03:04, or 01.02.2024 10:30.
pi is 3.14159265358979
The population was 1,400,000,000 in 2021.
ISBN 978-3-16-148410-0
1 2 3 4 5 6 7 8 9 10 11 12 13
solve 123456789 + 9876543210
std::vector and dead::beef at 12:30:45
The password is required, the token is long.
@ann said hi; a@b is nothing
Look at the dot com boom of 1999.
Meet me at noon, dot the i and cross the t.
We met at the station and left at dawn.
Passport control opened in 2024.
My passport expires in 2030; how do I renew it?
Do I need a passport for Norway?
What is a tax number, and who needs one?
Explain how the Steuernummer is made.
What is my IP address?
Order 20240613-001 has shipped.
Flight LH 1234 leaves at 10:45 from gate B12.
The ratio was 3:2:1, then 10:20:30.
Add 250 g of flour, 2 eggs and 100 ml of milk.
In 1066, 1215 and 1776 things happened.
for i in range(100): print(i * 12345)
SELECT * FROM users WHERE id = 12345678901
sha256 9f86d081884c7d659a2feaa0c55ad015
12345678A
666-12-3456 and 123-00-6789
130 692 545
The model has 175,000,000,000 parameters.
UTC+01:00, latitude 52.5200, longitude 13.4050
Chapter 11, verse 12, page 13.
Python 3.11.7 and pip 24.0.1.2
My number one goal is to run 10 km in 50 minutes.
The number of my house is not important.
Use [at] least two examples and a [dot] at the end.
See you at example street.
A phone number has ten digits in the US.
The tel aviv beaches are lovely in May 2024.
x = [1.5, 2.5, 3.5]; y = (4, 5, 6)
Invoice 4711 of 12/2023 over 1.234,56 EUR
The score was 21-19, 19-21, 21-15.
""".strip()


def main() -> None:
    """Print recall by kind and precision."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted, got = Counter(), Counter()
    true, false = 0, 0
    for line in FOUND.splitlines():
        kind, _, marked = line.partition("|")
        start, end = marked.index("«"), marked.index("»") - 1
        text = marked.replace("«", "").replace("»", "")
        found = find_pii(text)
        hits = [one for one in found if one.start < end and start < one.end]
        wanted[kind] += 1
        got[kind] += bool(hits)
        true, false = true + len(hits), false + len(found) - len(hits)
        if not hits:
            print(f"missed {kind}: {text}")
    for text in ALONE.splitlines():
        found = find_pii(text)
        false += len(found)
        for one in found:
            print(f"false alarm {one.kind}: {text[one.start : one.end]!r} in {text}")
    for kind in wanted:
        print(f"{kind:12} found {got[kind]} of {wanted[kind]}")
    texts = sum(wanted.values()) + len(ALONE.splitlines())
    recall, precision = sum(got.values()) / sum(wanted.values()), true / (true + false)
    print(f"{texts} texts: recall {recall:.2f}, precision {precision:.2f}")


if __name__ == "__main__":
    main()
