"""Text: normalisation, the repair of wrong encodings, Traditional and Simplified Chinese. Pure functions, no numpy."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any, Literal

from ptft.core.language import HAN
from ptft.core.language import LANGUAGES as LANGUAGES
from ptft.core.language import UNKNOWN as UNKNOWN
from ptft.core.language import language as language

# ---------------------------------------------------------------- normalisation

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-9;]*m"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS: titles, links
    r"|\x1b[ -/]+[0-~]|\x1b[0-~]"  # character sets, single functions
)
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # C0 and C1 controls but tab and the line ends, which come first
    "\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"  # zero-width, BOM, direction
    "\ud800-\udfff]"  # lone surrogates, which no file can hold
)
_UNUSUAL = re.compile(
    f"[\x0b-\x0d\u2028\u2029{_INVISIBLE.pattern[1:]}"
)  # one look that spares most text the three above
# Joiners are spelling after these letters: Arabic to Mandaic, Indic to Sinhala, Tibetan, Myanmar, Khmer, Mongolian.
_JOINED = "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ua840-\ua87f\ua8e0-\ua8ff\ufb50-\ufdff\ufe70-\ufefe"
_EMOJI = "\u2190-\u2bff\U0001f000-\U0001faff"
_STRAY_JOINERS = re.compile(
    f"(?<![{_JOINED}])\u200c|(?<![{_JOINED}{_EMOJI}\ufe0f])\u200d|(?<=[{_EMOJI}\ufe0f])\u200d(?![{_EMOJI}])"
)
_EXOTIC = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_EXOTIC_SPACE = re.compile(f"[{_EXOTIC}]")
_TYPESET_INDENT = re.compile(f"^[ \t]*[{_EXOTIC}][ \t{_EXOTIC}]*", re.MULTILINE)
_SPACES = re.compile(r"(?<=[^\n \t]) {2,}")
_BLANK_LINES = re.compile(r"\n{4,}")


def normalise(text: str, *, repair: bool = True, script: Script = "keep") -> str:
    """Text as a corpus keeps it; idempotent.

    repair: text that went through a wrong encoding is mended (`mended`). script: Chinese is left as it is written, unless asked.
    Unicode NFC; ANSI escapes, control and zero-width characters gone (but for joiners that spell emoji, Persian or Indic
    words); every line end a newline; exotic spaces a space; runs of spaces one space, a line's indentation aside, which
    is meaning in code (an indentation of exotic spaces is typesetting, and goes); no spaces at the end of a line; more
    than two blank lines one; none at either end.
    """
    if _UNUSUAL.search(text):
        text = _visible(mended(text) if repair else text, repair)
    text = _laid_out(text)
    while repair and (again := mended(text)) != text:  # each time shorter
        text = _laid_out(_visible(again, repair))
    return text if script == "keep" else _laid_out(in_script(text, script))


def _visible(text: str, repair: bool) -> str:
    if repair and _C1.search(text) and max(text) <= "\xff":  # latin-1 throughout: it was cp1252
        text = text.translate(_FROM_C1)
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", _ANSI.sub("", text)))


def _laid_out(text: str) -> str:
    if not text.isascii():
        text = _normalise_unicode(text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")]).strip("\n")
    return _BLANK_LINES.sub("\n\n", text) if "\n\n\n\n" in text else text


def _normalise_unicode(text: str) -> str:
    text, before = unicodedata.normalize("NFC", text), ""
    while text != before and (
        "\u200c" in text or "\u200d" in text
    ):  # NFC may move a mark to where a joiner then strays
        text, before = unicodedata.normalize("NFC", _STRAY_JOINERS.sub("", text)), text
    return _EXOTIC_SPACE.sub(" ", _TYPESET_INDENT.sub("", text)) if _EXOTIC_SPACE.search(text) else text


# ---------------------------------------------------------------- wrong encodings

_CONTINUATION = "[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"  # bytes 80 to BF as latin-1 or cp1252 shows them
_MOJIBAKE = re.compile(f"[\xc2-\xdf]{_CONTINUATION}|[\xe0-\xef]{_CONTINUATION}{{2}}|[\xf0-\xf4]{_CONTINUATION}{{3}}")
# NEL and CSI are used as controls; of the others only what cp1252 means by them makes sense.
_C1 = re.compile("[\x80\x82\x84\x8b\x91-\x97\x99]")
_FROM_C1 = {code: bytes([code]).decode("cp1252") for code in (0x80, 0x82, 0x84, 0x8B, *range(0x91, 0x98), 0x99)}


def mended(text: str) -> str:
    """Text that was read in a wrong encoding, put right: "cafÃ©" is "café", "ä¸­æ–‡" is 中文.

    By ftfy (Speer 2019), its `fix_encoding` alone: quotes, ligatures, and full-width punctuation stay. Text that is right is left
    as it is; ftfy is slow, and looks only at a text with a sequence that UTF-8 read as latin-1 or cp1252 has.
    """
    if text.isascii() or b"\xc3" not in text.encode("utf-8", "surrogatepass"):  # none of the letters \xc0 to \xff
        return text
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text, _ftfy_settings())
    return text


@functools.lru_cache(maxsize=1)
def _ftfy_settings() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(fix_c1_controls=False, replace_lossy_sequences=False, explain=False)


# ---------------------------------------------------------------- Traditional and Simplified Chinese

Script = Literal["keep", "simplified", "traditional"]


def in_script(text: str, script: Literal["simplified", "traditional"]) -> str:
    """Chinese in Simplified or Traditional characters, word by word, by OpenCC; other text as it is."""
    return str(_converter("t2s" if script == "simplified" else "s2t").convert(text))


@functools.lru_cache
def _converter(config: str) -> Any:
    import opencc

    return opencc.OpenCC(config)


# ---------------------------------------------------------------- letters


def han_characters(text: str) -> int:
    return sum(map(len, _HAN_RUN.findall(text)))


def letters(text: str) -> int:
    """Characters that are letters of any script, Han included."""
    return sum(map(len, _LETTERS.findall(text)))


_HAN_RUN = re.compile(f"[{HAN}]+")
_LETTERS = re.compile(r"[^\W\d_]+")
