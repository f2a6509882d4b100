"""Text: normalisation, and which language a text is in by the share of its scripts. Pure functions, no numpy."""

from __future__ import annotations

import re
import unicodedata

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


def normalise(text: str) -> str:
    """Text as a corpus keeps it; idempotent.

    Unicode NFC; ANSI escapes, control and zero-width characters gone (but for joiners that spell emoji, Persian or Indic
    words); every line end a newline; exotic spaces a space; runs of spaces one space, a line's indentation aside, which
    is meaning in code (an indentation of exotic spaces is typesetting, and goes); no spaces at the end of a line; more
    than two blank lines one; none at either end.
    """
    if _UNUSUAL.search(text):
        text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", _ANSI.sub("", text)))
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


# ---------------------------------------------------------------- language

UNKNOWN = "und"  # ISO 639: undetermined
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SCRIPTS = {  # the language a script stands for, until a real identifier comes
    "zh": _HAN, "ja": "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f", "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "en": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff", "ru": "\u0400-\u052f",
    "el": "\u0370-\u03ff\u1f00-\u1fff", "he": "\u0590-\u05ff", "ar": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "hi": "\u0900-\u097f", "th": "\u0e00-\u0e7f", "hy": "\u0530-\u058f", "ka": "\u10a0-\u10ff",
}  # fmt: skip
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
_ASCII_LETTERS = re.compile("[A-Za-z]+")
LANGUAGES = (*_SCRIPTS, UNKNOWN)
_RUNS = {name: re.compile(f"[{script}]+") for name, script in _SCRIPTS.items()}
_WEIGHTS = {"zh": 5.0, "ja": 5.0, "ko": 2.0}  # a Han character is about a word of five letters, a hangul one a syllable
_MIN_KANA = 0.1  # Japanese writes kana between its Han characters; a stray の does not make a text Japanese


def language(text: str) -> str:
    """The language whose script has the largest share of the text: "zh", "en", "ja", "ko", "ru", ... or "und".

    A stand-in for a language identifier: Latin is taken for English, Cyrillic for Russian. Mixed Chinese and English is
    Chinese where it has as many Han characters as Latin words.
    """
    if text.isascii():
        return "en" if _RUNS["en"].search(text) else UNKNOWN
    rest = "".join(_NOT_ASCII.findall(text))  # all but one of the scripts are there, and it is the smaller part
    counts = {name: _length(pattern, rest) * _WEIGHTS.get(name, 1.0) for name, pattern in _RUNS.items()}
    counts["en"] += _length(_ASCII_LETTERS, text)
    if counts["ja"] > _MIN_KANA * counts["zh"]:
        counts["ja"], counts["zh"] = counts["ja"] + counts["zh"], 0.0
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else UNKNOWN


def _length(pattern: re.Pattern[str], text: str) -> int:
    return sum(map(len, pattern.findall(text)))


def han_characters(text: str) -> int:
    return _length(_RUNS["zh"], text)


_LETTERS = re.compile(r"[^\W\d_]+")


def letters(text: str) -> int:
    """Characters that are letters of any script, Han included."""
    return _length(_LETTERS, text)
