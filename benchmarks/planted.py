"""Pairs of texts whose Jaccard similarity is known: real texts and copies of them, edited in many ways and degrees.

The similarity is computed here in plain Python, by nothing that is measured: sets of five-word (in Chinese five-character)
shingles; a text that is shorter is one shingle. Case and punctuation are no part of a word.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

SHINGLE = 5
LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # a pair's level is the last of these it reaches
_TOKEN = re.compile("[\u4e00-\u9fff]|[^\\W_\u4e00-\u9fff]+")
Edit = Callable[[list[str], float, random.Random], list[str]]


@dataclass(frozen=True)
class Pair:
    """Two texts: `left`, real, and `right`, its edited copy, with what was done and how similar they are."""

    left: str
    right: str
    edit: str
    jaccard: float


# ---------------------------------------------------------------- true Jaccard


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def shingles(text: str) -> set[str]:
    found = tokens(text)
    if len(found) < SHINGLE:
        return {" ".join(found) or text}
    return {" ".join(found[place : place + SHINGLE]) for place in range(len(found) - SHINGLE + 1)}


def jaccard(left: str, right: str) -> float:
    one, other = shingles(left), shingles(right)
    return len(one & other) / len(one | other)


def level(similarity: float) -> float | None:
    return max((step for step in LEVELS if similarity >= step), default=None)


def apart(candidates: Iterable[str], most: float = 0.3) -> list[str]:
    """The texts that share at most `most` of their shingles with any one kept before them."""
    kept: list[str] = []
    holders: dict[str, list[int]] = {}
    for text in candidates:
        own = shingles(text)
        shared = Counter(holder for shingle in own for holder in holders.get(shingle, ()))
        if shared and max(shared.values()) > most * len(own):
            continue
        for shingle in own:
            holders.setdefault(shingle, []).append(len(kept))
        kept.append(text)
    return kept


# ---------------------------------------------------------------- edits: of units (words or characters), amount in 0..1


def _places(units: Sequence[str], amount: float, draw: random.Random) -> list[int]:
    words = [place for place, unit in enumerate(units) if _TOKEN.search(unit)] or [0]
    return sorted(draw.sample(words, min(len(words), max(1, round(amount * len(words))))))


def substitute(units: list[str], amount: float, draw: random.Random) -> list[str]:
    units, vocabulary = list(units), [unit for unit in units if _TOKEN.search(unit)] or units
    for place in _places(units, amount, draw):
        units[place] = draw.choice(vocabulary)
    return units


def delete(units: list[str], amount: float, draw: random.Random) -> list[str]:
    gone = set(_places(units, amount, draw))
    return [unit for place, unit in enumerate(units) if place not in gone] or units


def insert(units: list[str], amount: float, draw: random.Random) -> list[str]:
    units, vocabulary = list(units), [unit for unit in units if _TOKEN.search(unit)] or units
    for place in reversed(_places(units, amount, draw)):
        units.insert(place, draw.choice(vocabulary))
    return units


def front(units: list[str], amount: float, draw: random.Random) -> list[str]:
    """One word at the front, whatever the amount."""
    return [draw.choice([unit for unit in units if _TOKEN.search(unit)] or units), *units]


def shuffle(units: list[str], amount: float, draw: random.Random) -> list[str]:
    """Sentences change places: all of them at 1, two at 0."""
    sentences: list[list[str]] = [[]]
    for unit in units:
        sentences[-1].append(unit)
        if unit.endswith((".", "!", "?", "。", "！", "？")):
            sentences.append([])
    sentences = [sentence for sentence in sentences if sentence]
    moved = draw.sample(range(len(sentences)), min(len(sentences), max(2, round(amount * len(sentences)))))
    for place, sentence in zip(moved, [sentences[other] for other in moved[1:] + moved[:1]], strict=True):
        sentences[place] = sentence
    return [unit for sentence in sentences for unit in sentence]


def truncate(units: list[str], amount: float, draw: random.Random) -> list[str]:
    return units[: max(1, round(len(units) * (1 - amount)))]


BOILERPLATE = {
    "en": "Share this page with your friends by mail or print it. All rights reserved by the publisher and its partners. "
    "Sign in to leave a comment or read what others think about this story. More of today's news in our newsletter.",
    "zh": "版权所有，未经许可不得转载。请登录后发表评论，或者把本页分享给朋友。更多精彩内容请订阅我们的每日新闻邮件。"
    "本站声明：以上内容仅代表作者个人观点，与本站立场无关。",
}


def boilerplate(units: list[str], amount: float, draw: random.Random) -> list[str]:
    """The site's footer, as much of it (and as often) as the amount asks for."""
    chinese = not any(len(unit) > 1 and unit.isascii() for unit in units[:20])
    footer = list(BOILERPLATE["zh"]) if chinese else BOILERPLATE["en"].split()
    start = draw.randrange(len(footer))
    return units + [footer[(start + n) % len(footer)] for n in range(max(1, round(amount * len(units))))]


def recase(units: list[str], amount: float, draw: random.Random) -> list[str]:
    """Upper case, commas and full stops: no change to any word."""
    units = list(units)
    for place in _places(units, max(amount, 0.1), draw):
        units[place] = draw.choice(
            (units[place].upper(), units[place].title(), units[place] + ",", units[place] + " -")
        )
    return units


def typo(units: list[str], amount: float, draw: random.Random) -> list[str]:
    """Two neighbouring letters exchanged, or in Chinese a neighbouring code point."""
    units = list(units)
    for place in _places(units, amount, draw):
        unit = units[place]
        cut = draw.randrange(max(1, len(unit) - 1))
        units[place] = unit[:cut] + unit[cut : cut + 2][::-1] + unit[cut + 2 :] if len(unit) > 1 else _near(unit)
    return units


def _near(unit: str) -> str:
    return chr(ord(unit) + 1) if "\u4e00" <= unit < "\u9fff" else unit


EDITS: dict[str, Edit] = {
    "substitution": substitute, "deletion": delete, "insertion": insert, "a word in front": front,
    "sentences shuffled": shuffle, "truncation": truncate, "boilerplate added": boilerplate,
    "case, punctuation": recase, "typos": typo,
}  # fmt: skip


# ---------------------------------------------------------------- pairs


def units_of(text: str, chinese: bool) -> tuple[list[str], str]:
    """What edits move about, and what joins it again: characters in Chinese, words elsewhere."""
    return (list(text), "") if chinese else (text.split(" "), " ")


def planted(
    originals: Sequence[str], chinese: bool, seed: int, edits: Iterable[str] = EDITS, tries: int = 10
) -> list[Pair]:
    """A pair for each original: edits in turn, in several degrees, that degree kept which fills the emptiest level.

    Pairs below the lowest level are kept only where no degree reaches it.
    """
    draw, filled, pairs = random.Random(seed), Counter[float | None](), []
    names = list(edits)
    for number, original in enumerate(originals):
        name = names[number % len(names)]
        made = [_edited(original, name, 10 ** draw.uniform(-3, -0.2), chinese, draw) for _ in range(tries)]
        pair = min(made, key=lambda pair: (level(pair.jaccard) is None, filled[level(pair.jaccard)]))
        filled[level(pair.jaccard)] += 1
        pairs.append(pair)
    return pairs


def _edited(original: str, name: str, amount: float, chinese: bool, draw: random.Random) -> Pair:
    units, joiner = units_of(original, chinese)
    right = joiner.join(EDITS[name](units, amount, draw))
    return Pair(original, right, name, jaccard(original, right))
