"""Bytes to text: byte-order marks, UTF-8, UTF-16 and -32 without a mark, what a page declares, and else detection.

Detection proposes an encoding only if the text it gives reads like text: the most frequent characters of a language make up a good
part of any text in it, and next to nothing of what a wrong encoding makes of the same bytes. charset-normalizer is asked about
the languages that have no list here.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

SAMPLE = 1 << 16  # bytes looked at


class Undecodable(ValueError):
    """Bytes in no encoding that can be told for certain. start: the first byte that is not UTF-8. guess: the likeliest, or ""."""

    def __init__(self, start: int, guess: str, encoding: str = "auto") -> None:
        self.start, self.guess, self.encoding = start, guess, encoding
        if encoding != "auto":
            reason = f"not {encoding} at byte {start}"
        elif guess:
            reason = f"not UTF-8 at byte {start}; it may be {guess} ({hint(guess)} reads it so)"
        else:
            reason = f"not UTF-8 at byte {start}, nor surely anything else ({hint()} reads it as NAME)"
        super().__init__(reason)


def hint(name: str = "NAME") -> str:
    """How a user names an encoding: a knob of `ptft clean`."""
    return f"ptft clean --set normalise.encoding={name}"


def decode(raw: bytes, encoding: str = "auto") -> tuple[str, str]:
    """Text, and the name of the encoding it was in. encoding: "auto", or a codec's name, then strictly that (UTF-8 for "utf-8").

    Raises `Undecodable` where the bytes are not in the encoding, or "auto" is not certain; `LookupError` for an unknown name.
    """
    if encoding != "auto":
        return _strictly(raw, canonical(encoding))
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _strictly(raw, name)
    if b"\0" in raw and (name := _wide(raw)):
        return _strictly(raw, name)
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        return _detected(raw, error.start)


def canonical(encoding: str) -> str:
    """The codec for a name, in the wider variant that the web means by it (WHATWG Encoding): gb2312 is gb18030, latin-1 cp1252.

    Raises `LookupError` for an unknown name.
    """
    try:
        name = codecs.lookup(encoding.strip()).name
    except ValueError as error:  # a NUL in the name
        raise LookupError(f"not an encoding: {encoding!r}") from error
    if not codecs.lookup(name)._is_text_encoding or name in _OF_NO_FILE:
        raise LookupError(f"not a text encoding: {encoding}")
    return _WIDER.get(name, name)


def byte_order_mark(head: bytes) -> str:
    """The encoding that the first bytes of a file announce, or ""."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (b"\x84\x31\x95\x33", "gb18030"),
)  # fmt: skip
_OF_NO_FILE = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "charmap"}
_WIDER = {
    "utf-8": "utf-8-sig", "gb2312": "gb18030", "gbk": "gb18030", "hz": "gb18030", "big5": "big5hkscs", "cp950": "big5hkscs",
    "shift_jis": "cp932", "euc_kr": "cp949", "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254",
    "iso8859-11": "cp874", "tis-620": "cp874",
}  # fmt: skip


def _strictly(raw: bytes, name: str) -> tuple[str, str]:
    try:
        text = raw.decode(name)
    except UnicodeError as error:  # UTF-16 raises a bare one where a mark is missing
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise Undecodable(start, "", name.removesuffix("-sig")) from error
    return text.removeprefix("\ufeff"), name.removesuffix("-sig")


def _wide(raw: bytes) -> str:
    """UTF-16 or -32 without a mark, or "": the name under which nearly all of the text is letters, signs and spaces."""
    for name, size in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        if len(raw) % size:
            continue
        try:
            text = codecs.getincrementaldecoder(name)().decode(raw[:SAMPLE])
        except UnicodeDecodeError:
            continue
        if text and sum(map(_is_ordinary, text)) >= 0.98 * len(text):
            return name
    return ""


def _is_ordinary(char: str) -> bool:
    """Of the scripts that much text is in; of Han, what GB 2312 or Big5 has: UTF-16 makes a Han character of any two letters."""
    if char in "\t\n\r\x1b" or "\x20" <= char < "\x7f":
        return True
    if "\u4e00" <= char <= "\u9fff":
        return len(char.encode("gb2312", "ignore") or char.encode("big5", "ignore")) > 0
    return (
        "\xa0" <= char < "\u0700"
        or "\u2000" <= char < "\u2800"
        or "\u3000" <= char < "\u3100"
        or "\uac00" <= char < "\ud7a4"
        or "\uff00" <= char < "\uffef"
    )


# ---------------------------------------------------------------- detection

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})|^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]{2,40})""",
    re.I,
)
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\r\f\x1b"})
_FREQUENT = {
    "gb18030": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运",
    "big5hkscs": "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量再感建務做接必場件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界達光放強即像難且權思王象完設式色路記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今切院讓識候帶導爭運",
    "cp949": "이다는의에을가고하지로은를기사도인어한자리그시아일나대스정들해있서수구제만부보장것전주과라원으게화여공상신소지와안요우연동오조경미세위개문성유내방용회적국학생",
    "cp932": "のにはをたがでてとしれさいるなからあもこっりんだうまそきすくよみせめやわつおけえちョンスーラルトイアリクドシレジタフロマテバムプ日本人大年会国中出上",
    "euc_jp": "のにはをたがでてとしれさいるなからあもこっりんだうまそきすくよみせめやわつおけえちョンスーラルトイアリクドシレジタフロマテバムプ日本人大年会国中出上",
    "cp1251": "оеаинтсрвлкм", "koi8_r": "оеаинтсрвлкм",
    "cp1252": "éèàùâêîôûëïüöäßñçáíóúãõåøæÉÈÀÜÖÄÑÇÁÍÓÚÅØ’‘“”–—…£€°©®«»·•¿¡½§",
}  # fmt: skip
_SETS = {name: frozenset(characters) for name, characters in _FREQUENT.items()}
_SURE = {
    "gb18030": 0.3,
    "big5hkscs": 0.3,
    "cp949": 0.3,
    "cp932": 0.4,
    "euc_jp": 0.4,
    "cp1251": 0.6,
    "koi8_r": 0.6,
    "cp1252": 0.95,
}
_FEWEST = {"cp1252": 1, "cp1251": 20, "koi8_r": 20}  # characters beyond ASCII that must be there, of others
_FEW, _AHEAD = 4, 1.5  # of others; times the share of the next best


def _detected(raw: bytes, start: int) -> tuple[str, str]:
    """The text in the one encoding under which it reads like text. start: the first byte that is not UTF-8."""
    sample = raw[:SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if controls > 0.002 * len(sample):
        raise Undecodable(start, "")
    guess = _declared(raw) or _most_readable(sample) or _by_charset_normalizer(sample)
    sure = not guess.endswith("?")
    guess = guess.removesuffix("?")
    if guess and sure:
        try:
            return _strictly(raw, guess)
        except Undecodable:
            pass
    raise Undecodable(start, guess)


def _declared(raw: bytes) -> str:
    """What a page says it is in, if its bytes agree."""
    found = _DECLARED.search(raw[:4096])
    if found is None:
        return ""
    try:
        name = canonical((found[1] or found[2]).decode())
        text = raw.decode(name)
    except (LookupError, ValueError):
        return ""
    return "" if name.startswith("utf") or any("\x80" <= char < "\xa0" for char in text[:SAMPLE]) else name


def _most_readable(sample: bytes) -> str:
    """The encoding whose language's frequent characters cover most of the sample; with a "?" where that is not certain."""
    shares = {name: share for name in _SETS if (share := _share_of_frequent(sample, name)) >= _SURE[name]}
    best = sorted(shares, key=lambda name: (name == "cp1252", -shares[name]))  # a row of bytes in pairs is no chance
    if not best:
        return ""
    return (
        best[0]
        if len(best) == 1 or best[1] == "cp1252" or shares[best[0]] >= _AHEAD * shares[best[1]]
        else best[0] + "?"
    )


def _share_of_frequent(sample: bytes, name: str) -> float:
    """The share of frequent ones among the letters beyond ASCII (for cp1252 quotes and signs too); 0 where the sample is not in this encoding, or too short."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    beyond = [char for char in text if char > "\x7f" and (name == "cp1252" or char.isalpha())]
    if len(beyond) < _FEWEST.get(name, _FEW) or (name in _FITS and not _FITS[name](text)):
        return 0.0
    return sum(char in _SETS[name] for char in beyond) / len(beyond)


_ACCENTED = re.compile("[\xc0-\xd6\xd8-\xf6\xf8-\xfe]")
_IN_WORD = re.compile("(?<=[a-zA-Z'’])[\xdf-\xf6\xf8-\xfe]|[\xc0-\xd6\xd8-\xf6\xf8-\xfe](?=[a-z])|\\b[àéèêôùâ]\\b")


def _is_latin(text: str) -> bool:
    """Words of ASCII letters with an accented one now and then: no long row of accented letters, which is another script."""
    accented = len(_ACCENTED.findall(text))
    plain = sum(char.isascii() and char.isalpha() for char in text)
    single = _BEYOND.sub("", _PAIRS.sub("", text)) != _PAIRS.sub("", text)  # two bytes a sign is what Chinese has
    return single and plain >= max(3, 3 * accented) and len(_IN_WORD.findall(text)) >= 0.9 * accented


def _is_cyrillic(text: str) -> bool:
    """No words of both alphabets, which a wrong encoding of accented Latin makes."""
    return len(_MIXED_WORD.findall(text)) * 20 <= len(_CYRILLIC_WORD.findall(text))


_BEYOND, _PAIRS = re.compile("[^\0-\x7f]"), re.compile("(?:[^\0-\x7f]{2})+")
_MIXED_WORD, _CYRILLIC_WORD = re.compile("[a-zA-Z][а-яА-Я]|[а-яА-Я][a-zA-Z]"), re.compile("[а-яА-ЯёЁ]+")
_FITS = {"cp1252": _is_latin, "cp1251": _is_cyrillic, "koi8_r": _is_cyrillic}


_CJK = {
    "gb2312",
    "gbk",
    "gb18030",
    "big5",
    "big5hkscs",
    "cp950",
    "cp932",
    "shift_jis",
    "shift_jis_2004",
    "euc_jp",
    "euc_kr",
    "cp949",
    "johab",
}


def _by_charset_normalizer(sample: bytes) -> str:
    """For the other languages: certain where it names a language and the letters are nearly all of one script."""
    import charset_normalizer

    match = charset_normalizer.from_bytes(
        sample, cp_exclusion=["utf_7", "cp037", "cp500", "cp1026", "cp1140", "cp424"]
    ).best()
    if match is None:
        return ""
    name = codecs.lookup(match.encoding).name
    letters = [unicodedata.name(char, "?").split()[0] for char in str(match) if char > "\x7f" and char.isalpha()]
    one_script = bool(letters) and max(map(letters.count, set(letters))) >= 0.98 * len(letters)
    sure = (
        one_script
        and len(letters) >= 20
        and match.coherence >= 0.5
        and match.chaos <= 0.1
        and match.encoding not in _CJK
    )
    return canonical(name) if sure else canonical(name) + "?"
