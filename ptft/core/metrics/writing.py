"""What texts are written in, from the letters they have: it decides what a token is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ptft.core.metrics.measure import Floats

_CHINESE = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
UNSPACED = _CHINESE + r"\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # and kana, Thai, Lao, Burmese, Khmer
_GROUPS = tuple(  # letters; and of those the Latin ones, kana and Hangul, Chinese characters
    re.compile(group)
    for group in (r"[^\W\d_]", r"[a-zA-Z\u00c0-\u024f]", r"[\u3040-\u30ff\uac00-\ud7af]", f"[{_CHINESE}]")
)
OTHER_SHARE = 0.1  # of letters that are not Latin: above it a text is not taken for English; of rows: they are mixed


@dataclass(frozen=True)
class Writings:
    """main: of all texts together. rows: each row's own ("" where it has no letters)."""

    main: str
    rows: tuple[str, ...]

    @property
    def mixed(self) -> dict[str, float]:
        """Shares of the rows by writing, where more than a tenth are not written as the most are; else nothing."""
        counts = Counter(filter(None, self.rows))
        total = sum(counts.values())
        if not counts or total - max(counts.values()) <= OTHER_SHARE * total:
            return {}
        return {name: round(count / total, 4) for name, count in counts.most_common()}


def writing(texts: Sequence[str]) -> str:
    """ "zh" (Chinese characters), "char" (kana, Hangul), "latin" or "other": what most of the letters that decide are."""
    return _decided(sum((_letters(text) for text in texts), np.zeros(len(_GROUPS))))


def writings(rows: Sequence[Sequence[str]]) -> Writings:
    """rows: the texts of each row."""
    counts = np.array([_letters("\n".join(row)) for row in rows]).reshape(len(rows), len(_GROUPS))
    return Writings(_decided(counts.sum(axis=0)), tuple(_decided(row) if row[0] else "" for row in counts))


def _decided(counts: Floats) -> str:
    letters, latin, kana, chinese = counts.tolist()
    if letters - latin <= OTHER_SHARE * letters:
        return "latin"
    if kana > OTHER_SHARE * (letters - latin):
        return "char"
    return "zh" if chinese > (letters - latin) / 2 else "other"


def _letters(text: str) -> Floats:
    """How many characters of `text` are in each of the groups."""
    found = np.zeros(len(_GROUPS))
    for character, count in Counter(text).items():
        for group in _groups(character):
            found[group] += count
    return found


@cache
def _groups(character: str) -> tuple[int, ...]:
    return tuple(number for number, group in enumerate(_GROUPS) if group.match(character))
