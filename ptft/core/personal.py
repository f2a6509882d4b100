"""Personal data: e-mail and IP addresses, telephone numbers, Chinese identity numbers, bank cards. Found, and masked.

What each kind means here, and what it leaves alone on purpose:

    email      any address with a domain name, in Latin, Greek or Cyrillic letters; not "git@host" and not "icon@2x.png"
    ip         public addresses, v4 and v6, as FineWeb masks them: private, loopback and documentation addresses identify
               nobody. Nor a dotted quad that reads as a version ("version 8.0.45.1") or has four numbers below 20, which
               is a section number, a version or a public name server, and an address once in 40,000
    id_zh      18 digits: a province, a day that exists, the check digit of GB 11643-1999
    bank_card  13 to 19 digits with an issuer's prefix and Luhn's check digit (ISO/IEC 7812)
    mobile_zh  1[3-9] and nine digits, perhaps after +86
    phone      +country code; North American with separators; Chinese landlines with an area code, 400 and 800 numbers;
               any 7 to 12 digits after "Tel:", "Phone:", "Fax:", 电话, 热线, 传真

Full-width digits (１３８…) are digits. Borders are those of ASCII: a Han character is a word character to `\\b`, and 电话13812345678 is a telephone number.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

KINDS = (
    "email",
    "ip",
    "id_zh",
    "bank_card",
    "mobile_zh",
    "phone",
)  # in this order: a card number may look like a phone
PLACEHOLDERS = {
    "email": "<EMAIL>",
    "ip": "<IP>",
    "id_zh": "<ID>",
    "bank_card": "<BANK_CARD>",
    "mobile_zh": "<MOBILE>",
    "phone": "<PHONE>",
}


def mask(text: str, kinds: Sequence[str] = KINDS) -> tuple[str, dict[str, int]]:
    """The text with each piece of personal data replaced by its kind's placeholder, and how many there were of each kind.

    Idempotent. Kinds that were not found are not in the counts. KeyError for a kind that is not one of `KINDS`.
    """
    counts: dict[str, int] = {}
    wanted = [kind for kind in KINDS if kind in kinds] if kinds is not KINDS else KINDS
    if unknown := set(kinds).difference(KINDS):
        raise KeyError(*unknown)
    read = _as_read(text)
    found = True
    while found:  # a placeholder may lay bare what touched it; nearly always once
        found = False
        digits = _runs_of_digits(read.plain)
        for kind in wanted:
            if _may_hold(kind, read.plain, digits):
                read, count = _FIND[kind](read)
                if count:
                    counts[kind] = counts.get(kind, 0) + count
                    found = True
    return read.text, counts


# ---------------------------------------------------------------- full-width digits


class _Read(NamedTuple):
    """A text, and how it is read: character for character, full-width digits (and the X of identity numbers) made plain."""

    text: str
    plain: str  # the text itself where there is nothing to make plain

    def replaced(self, spans: Sequence[tuple[int, int]], placeholder: str) -> _Read:
        text = _spliced(self.text, spans, placeholder)
        return _Read(text, text if self.plain is self.text else _spliced(self.plain, spans, placeholder))


_FULL_WIDTH = tuple(zip("０１２３４５６７８９", "0123456789", strict=True))


def _as_read(text: str) -> _Read:
    if text.isascii():
        return _Read(text, text)
    plain = text
    for wide, narrow in _FULL_WIDTH:  # at memchr's speed, 40 times that of str.translate; itself where there is none
        plain = plain.replace(wide, narrow)
    return _Read(text, text if plain is text else plain.replace("Ｘ", "X").replace("ｘ", "x"))


def _spliced(text: str, spans: Sequence[tuple[int, int]], placeholder: str) -> str:
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return placeholder.join(text[end:start] for end, start in zip(ends, starts, strict=True))


# ---------------------------------------------------------------- one cheap look

_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_SEPARATORS = b" -().+"
_FEWEST_DIGITS = {"phone": b"0" * 7, "mobile_zh": b"0" * 11, "bank_card": b"0" * 13, "id_zh": b"0" * 17}
_INNER_OCTETS = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])")  # a literal first: searched for at memchr's speed
_INNER_GROUP = re.compile(r":[0-9A-Fa-f]{0,4}:")


def _runs_of_digits(text: str) -> bytes:
    """The text as bytes, its digits zeros and what may separate digits gone: so that long numbers are found by memmem."""
    return text.encode("utf-8", "surrogatepass").translate(_TO_ZERO, _SEPARATORS)


def _may_hold(kind: str, text: str, digits: bytes) -> bool:
    if kind == "email":
        return "@" in text or "＠" in text
    if kind == "ip":
        return _INNER_OCTETS.search(text) is not None or _INNER_GROUP.search(text) is not None
    return _FEWEST_DIGITS[kind] in digits


def _replace(
    pattern: re.Pattern[str], placeholder: str, read: _Read, holds: Callable[[re.Match[str]], bool]
) -> tuple[_Read, int]:
    """Replace the matches that hold; returns the text and how many."""
    spans = [match.span() for match in pattern.finditer(read.plain) if holds(match)]
    return (read.replaced(spans, placeholder), len(spans)) if spans else (read, 0)


# ---------------------------------------------------------------- addresses

# Latin, Greek and Cyrillic with their combining marks. Not Han and other scripts that put no space before an address.
_LETTER = (
    r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u037d\u037f-\u0386\u0388-\u0481\u0483-\u052f\u1e00-\u1fff"
)
_EMAIL = re.compile(
    rf"(?<![{_LETTER}0-9._%+\-])[{_LETTER}0-9._%+\-]++[@＠]"  # possessive: a run of letters is read once
    rf"[{_LETTER}0-9\-]++(?:\.[{_LETTER}0-9\-]++)++(?<=[{_LETTER}]{{2}})"
)
_NOT_DOMAINS = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".service", ".js", ".css", ".html")


def _emails(text: _Read) -> tuple[_Read, int]:
    return _replace(_EMAIL, PLACEHOLDERS["email"], text, lambda match: not match.group().endswith(_NOT_DOMAINS))


# From here on a pattern begins with what its first character may be, and looks back over it (`.)`): a class or a literal
# in front is searched for ten times as fast as an assertion.
_IPV4 = re.compile(
    r"[0-9](?<![0-9A-Za-z_.].)(?<![A-Za-z]-.)[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
    r"(?![0-9A-Za-z_]|\.[0-9A-Za-z]|-[A-Za-z])"
)
_GLOBAL_UNICAST = r"[23](?<![0-9A-Za-z:.].)[0-9A-Fa-f]{3}:"  # 2000::/3, all that is in public use
_IPV6 = re.compile(
    _GLOBAL_UNICAST + r"(?:[0-9A-Fa-f:]{2,34}(?<!:)(?![0-9A-Za-z:]|\.[0-9])|[0-9A-Fa-f:]{0,33}:(?![0-9A-Za-z:.]))"
)
_NUMBERING_BEFORE = re.compile(
    r"(?:versions?|ver|v|releases?|build|firmware|sections?|clauses?|§|版本|版|固件|内核|第|章节|条款)[\W_]{0,3}\Z",
    re.IGNORECASE,
)
_SMALL = 20


def _ips(text: _Read) -> tuple[_Read, int]:
    text, fours = _replace(_IPV4, PLACEHOLDERS["ip"], text, _is_public_ipv4)
    text, sixes = _replace(_IPV6, PLACEHOLDERS["ip"], text, lambda match: _is_public(match.group()))
    return text, fours + sixes


def _is_public_ipv4(match: re.Match[str]) -> bool:
    octets = [int(part) for part in match.group().split(".")]
    before = match.string[max(0, match.start() - 12) : match.start()]
    return max(octets) >= _SMALL and not _NUMBERING_BEFORE.search(before) and _is_public(match.group())


def _is_public(address: str) -> bool:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return known.is_global and not known.is_multicast


# ---------------------------------------------------------------- numbers with a check digit

_ID_ZH = re.compile(
    r"[1-9](?<![0-9A-Za-z_.\-].)[0-9]{5}(?P<space> ?)(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"(?P=space)[0-9]{3}[0-9Xx](?![0-9A-Za-z_]|[.\-][0-9])"
)
_PROVINCES = re.compile(
    "1[1-5]|2[123]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123]|91"
)  # GB/T 2260; 83: a resident from Taiwan
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


def is_id_zh(number: str) -> bool:
    """Whether 18 characters are a valid citizen identity number: province, day of birth, check digit (GB 11643-1999)."""
    if not _PROVINCES.match(number):
        return False
    try:
        datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, number[:17], strict=True))
    return _ID_CHECKS[total % 11] == number[17].upper()


_EXPIRY = r"(?:0[1-9]|1[0-2]) ?/ ?(?:20)?[0-9]{2}(?![0-9/])"  # what a card's number is often followed by
_CARD = re.compile(
    r"[2-69](?<![0-9A-Za-z_.+\-].)(?<![0-9] .)(?:"
    r"[0-9]{12,18}"
    r"|[0-9]{3}(?P<four>[ \-])[0-9]{4}(?P=four)[0-9]{4}(?P=four)[0-9]{1,4}"
    rf"(?:(?P=four)(?!{_EXPIRY})[0-9]{{1,3}})?"
    r"|(?<=3)[47][0-9]{2}(?P<amex>[ \-])[0-9]{6}(?P=amex)[0-9]{5}"
    r"|(?<=6)[0-9]{5}(?P<union>[ \-])[0-9]{10,13}"
    rf")(?![0-9A-Za-z_]|[.\-][0-9]| (?!{_EXPIRY})[0-9])"
)
# Issuers' prefixes, each with the lengths they issue; 95588, 95598, 95599 are Chinese debit cards older than UnionPay's.
_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # American Express, Diners, JCB
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}"  # Discover
    r"|(?:62|81)[0-9]{14,17}|60[0-9]{14,17}"  # UnionPay
    r"|(?:5[0678]|6[0-9])[0-9]{14,17}|955(?:88|98|99)[0-9]{11,14}"  # Maestro, Chinese debit cards
)
_LUHN = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_bank_card(number: str) -> bool:
    """Whether digits are a card number: a known issuer's prefix and length, and Luhn's check digit (ISO/IEC 7812-1)."""
    if not _ISSUERS.fullmatch(number):
        return False
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(_LUHN[digit] for digit in digits[1::2])) % 10 == 0


def _ids(text: _Read) -> tuple[_Read, int]:
    return _replace(_ID_ZH, PLACEHOLDERS["id_zh"], text, lambda match: is_id_zh(match.group().replace(" ", "")))


def _cards(text: _Read) -> tuple[_Read, int]:
    return _replace(_CARD, PLACEHOLDERS["bank_card"], text, lambda match: is_bank_card(_digits(match.group())))


def _digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))


# ---------------------------------------------------------------- telephones

_END = r"(?![0-9A-Za-z_]|[.\-][0-9])"
_ALONE = r"(?<![0-9A-Za-z_.+\-].)"
_MOBILES = (
    re.compile(
        r"[+(8](?<![0-9A-Za-z_.].)(?<![0-9]-.)(?:(?<=8)|(?<=[+(])\+?8)6[) \-]{0,2}"
        r"1[3-9][0-9](?P<gap>[ \-]?)[0-9]{4}(?P=gap)[0-9]{4}" + _END
    ),
    re.compile(
        r"1(?<![0-9a-fA-F_+].)(?<![0-9][.\-].)(?<! [0-9] .)(?<! [0-9]{2} .)(?<! [0-9]{3} .)"  # nor in a table of numbers
        r"[3-9][0-9](?P<gap>[ \-]?)[0-9]{4}(?P=gap)[0-9]{4}" + _END
    ),
)
_PHONES = (
    re.compile(rf"[+]{_ALONE}[1-9](?:[ .\-]?\(?[0-9]\)?){{7,14}}{_END}"),  # international
    re.compile(rf"00(?<![0-9A-Za-z_.+\-]..)86(?:[ .\-]?\(?[0-9]\)?){{8,12}}{_END}"),
    re.compile(rf"1{_ALONE}[ .\-]?\([2-9][0-8][0-9]\) ?[2-9][0-9]{{2}}[ .\-][0-9]{{4}}{_END}"),  # North American
    re.compile(rf"\({_ALONE}[2-9][0-8][0-9]\) ?[2-9][0-9]{{2}}[ .\-][0-9]{{4}}{_END}"),
    re.compile(
        rf"[1-9]{_ALONE}(?:(?<=1)[ .\-][2-9]|(?<=[2-9]))[0-8][0-9](?P<gap>[ .\-])[2-9][0-9]{{2}}(?P=gap)[0-9]{{4}}{_END}"
    ),
    re.compile(  # Chinese: 010, 02x, 03xx to 09xx
        rf"[0(（]{_ALONE}(?:(?<=0)|(?<=[(（])0)(?:10|2[0-9]|[3-9][0-9]{{2}})(?:[)）][ \-]?|[ \-–—－])"
        rf"[2-9][0-9]{{2,3}}[ \-]?[0-9]{{4}}(?:-[0-9]{{1,5}})?{_END}"
    ),
    re.compile(rf"[48]{_ALONE}00[\-–—－](?:[0-9]{{3}}[\-–—－]?[0-9]{{4}}|[0-9]{{4}}[\-–—－]?[0-9]{{3}}){_END}"),
)
_ANY_PHONE = re.compile(rf"[0-9]{_ALONE}(?:[ \-)]{{0,2}}[0-9]){{6,11}}(?![0-9A-Za-z_%]|[ .\-]?[0-9]|[万亿元个部台])")
_CUE = re.compile(
    r"(?:(?<![A-Za-z])(?:tel(?:ephone)?|(?:tele)?phone|fax|mobile)\.? ?[:：]"
    r"|(?:电话|热线|传真|座机|手机号?|联系方式)[:：是为]?)[ \t]?[(（]?\Z",
    re.IGNORECASE,
)


def _mobiles(text: _Read) -> tuple[_Read, int]:
    return _replace_all(_MOBILES, PLACEHOLDERS["mobile_zh"], text, lambda match: not match.group().endswith("0" * 8))


def _phones(text: _Read) -> tuple[_Read, int]:
    text, count = _replace_all(_PHONES, PLACEHOLDERS["phone"], text, _is_phone)
    text, cued = _replace(_ANY_PHONE, PLACEHOLDERS["phone"], text, _is_cued)
    return text, count + cued


def _replace_all(
    patterns: Sequence[re.Pattern[str]], placeholder: str, text: _Read, holds: Callable[[re.Match[str]], bool]
) -> tuple[_Read, int]:
    counts = 0
    for pattern in patterns:
        text, count = _replace(pattern, placeholder, text, holds)
        counts += count
    return text, counts


def _is_phone(match: re.Match[str]) -> bool:
    number = match.group()
    return "000000" not in number and not _IPV4.fullmatch(number.lstrip("+"))


def _is_cued(match: re.Match[str]) -> bool:
    return _CUE.search(match.string[max(0, match.start() - 16) : match.start()]) is not None


_FIND: dict[str, Callable[[_Read], tuple[_Read, int]]] = {
    "email": _emails,
    "ip": _ips,
    "id_zh": _ids,
    "bank_card": _cards,
    "mobile_zh": _mobiles,
    "phone": _phones,
}
