"""ROUGE: F-measures of n-grams and of longest common subsequences (Lin 2004), equal to rouge_score's to the last bit.

rouge_score keeps a-z and 0-9 only, so identical Chinese texts get 0.0 from it; here such rows are tokenized by characters
and Unicode words. Its table of subsequences is replaced by bit vectors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ptft.core.metrics.measure import Floats, Measure, of_mean
from ptft.core.metrics.writing import UNSPACED, Writings
from ptft.core.workers import ordered_map

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
References = Sequence[Sequence[str]]
Tokens = list[str]
Task = tuple[list[str], list[list[str]], list[bool]]  # predictions, references, and which rows are Latin
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_BLOCK = 1000  # rows a task


def rouge_measures(
    predictions: Sequence[str], references: References, names: Sequence[str], found: Writings, *, stemmer: bool = False,
    split: bool = True, workers: int = 1,
) -> list[Measure]:  # fmt: skip
    """F-measures, 0-1, averaged over rows; of several references the best counts.

    A row whose references are in Latin letters is tokenized as rouge_score does, any other by characters (Chinese,
    Japanese, Thai) and Unicode words. rougeLsum is over sentences: lines where a text has several, else (split) what ends
    with a full stop. stemmer: Porter's, for rows in Latin letters only. workers: processes (0: one a core).
    """
    latin = [(row or found.main) == "latin" for row in found.rows]
    score = partial(_block, tuple(names), stemmer, split)
    blocks = list(ordered_map(score, _blocks(predictions, references, latin), workers))
    rows = np.concatenate(blocks) if blocks else np.empty((0, len(names)))
    detail = {"tokenizer": _used(latin, stemmer)}
    how = {"sentences": "lines" + (", else by full stops" if split else "")}
    return [of_mean(name, rows[:, i], **detail, **(how if name == "rougeLsum" else {})) for i, name in enumerate(names)]


def _used(latin: Sequence[bool], stemmer: bool) -> str:
    default, other = f"rouge_score default{', Porter stemmer' if stemmer else ''}", "characters and Unicode words"
    share = sum(latin) / max(len(latin), 1)
    if share in (0.0, 1.0):
        return default if share else other
    return f"by row: {default} ({share:.1%}), {other} ({1 - share:.1%})"


def _blocks(predictions: Sequence[str], references: References, latin: Sequence[bool]) -> Iterator[Task]:
    for start in range(0, len(predictions), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield list(predictions[part]), [list(row) for row in references[part]], list(latin[part])


def _block(names: tuple[str, ...], stemmer: bool, split: bool, task: Task) -> Floats:
    """F-measures, shape (rows, names)."""
    found = []
    for prediction, row, latin in zip(*task, strict=True):
        tokenize = _tokenizer(latin, stemmer)
        written = _Text(prediction, tokenize, latin, split)
        scores = [_scores(written, _Text(text, tokenize, latin, split), names) for text in row]
        found.append(np.max(scores, axis=0))
    return np.array(found)


@lru_cache(maxsize=4)
def _tokenizer(latin: bool, stemmer: bool) -> Callable[[str], Tokens]:
    if not latin:
        return lambda text: _TOKEN.findall(text.lower())
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=stemmer).tokenize


# ---------------------------------------------------------------- one pair


class _Text:
    """Tokens, sentences and n-grams of a text, each made when first asked for."""

    def __init__(self, text: str, tokenize: Callable[[str], Tokens], latin: bool, split: bool) -> None:
        self.text, self.tokenize, self.latin, self.split = text, tokenize, latin, split
        self.tokens = tokenize(text)

    def grams(self, size: int) -> Counter[Any]:
        return Counter(self.tokens if size == 1 else zip(*(self.tokens[i:] for i in range(size)), strict=False))

    def sentences(self) -> list[Tokens]:
        parts = sentences(self.text, self.latin) if self.split else self.text.split("\n")
        if len(parts) == 1:
            return [self.tokens] if self.tokens else []
        return [tokens for tokens in map(self.tokenize, parts) if tokens]


def _scores(written: _Text, wanted: _Text, names: Sequence[str]) -> list[float]:
    return [_SCORES[name](written, wanted) for name in names]


def _grams(written: _Text, wanted: _Text, size: int) -> float:
    made, asked = written.grams(size), wanted.grams(size)
    both = sum(min(count, made[gram]) for gram, count in asked.items() if gram in made)
    return f_measure(both, made.total(), asked.total())


def _longest(written: _Text, wanted: _Text) -> float:
    return f_measure(lcs(wanted.tokens, written.tokens), len(written.tokens), len(wanted.tokens))


def _summary(written: _Text, wanted: _Text) -> float:
    """Lin 2004, section 3.2; a token counts no more often than it occurs, as in ROUGE 1.5.5."""
    made, asked = written.sentences(), wanted.sentences()
    sizes = sum(map(len, made)), sum(map(len, asked))
    if len(made) == len(asked) == 1:
        return f_measure(lcs(asked[0], made[0]), *sizes)
    left = Counter(token for sentence in made for token in sentence)
    left &= Counter(token for sentence in asked for token in sentence)
    hits = 0
    for sentence in asked:
        union = sorted(set().union(*(lcs_places(sentence, other) for other in made)))
        for place in union:
            if left[sentence[place]] > 0:
                left[sentence[place]] -= 1
                hits += 1
    return f_measure(hits, *sizes)


def f_measure(both: int, written: int, wanted: int) -> float:
    if not both:
        return 0.0
    precision, recall = both / written, both / wanted
    return 2 * precision * recall / (precision + recall)


_SCORES: dict[str, Callable[[_Text, _Text], float]] = {
    "rouge1": partial(_grams, size=1), "rouge2": partial(_grams, size=2), "rougeL": _longest, "rougeLsum": _summary,
}  # fmt: skip


# ---------------------------------------------------------------- longest common subsequences


def lcs(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Length of the longest common subsequence."""
    return _lines(first, second)[-1].bit_count()


def lcs_places(first: Sequence[Any], second: Sequence[Any]) -> list[int]:
    """Places in `first` of that longest common subsequence which rouge_score finds: at a tie its table is walked upwards."""
    lines = _lines(first, second)
    found = []
    i, j = len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif (lines[i] & ((1 << (j - 1)) - 1)).bit_count() > (lines[i - 1] & ((1 << j) - 1)).bit_count():
            j -= 1
        else:
            i -= 1
    return found[::-1]


def _lines(first: Sequence[Any], second: Sequence[Any]) -> list[int]:
    """Row i of the table of lengths as bits: bit j is set where a common subsequence of first[:i] grows at second[j].

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited": the length at column j is the number of bits below j.
    """
    places: dict[Any, int] = {}
    for j, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << j
    every = (1 << len(second)) - 1
    line, lines = every, [0]
    for token in first:
        at = line & places.get(token, 0)
        line = ((line + at) | (line - at)) & every
        lines.append(every ^ line)
    return lines


# ---------------------------------------------------------------- sentences

_STOP = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]*[A-Z0-9À-Þ])")
_NO_STOP = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|No|e\.g|i\.e|etc)|\b[A-Z])\.$")
_UNSPACED_STOP = re.compile(r"(?<=[。！？；…!?])[”’」』）\"']*(?![。！？；…!?”’」』）\"'])")


def sentences(text: str, latin: bool = True) -> list[str]:
    """Lines where there are several. Else English is cut after . ! ? before a capital, and other writing after 。！？；…"""
    if "\n" in text.strip("\n"):
        return text.split("\n")
    cut = _STOP if latin else _UNSPACED_STOP
    found, start = [], 0
    for match in cut.finditer(text):
        if not (latin and _NO_STOP.search(text[start : match.start()])):
            found.append(text[start : match.end()].strip())
            start = match.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence] or [""]
