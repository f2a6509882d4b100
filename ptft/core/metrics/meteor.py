"""METEOR by nltk: words aligned by form, by stem, and by WordNet's synonyms from files at hand. Nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ptft.core.errors import InputError
from ptft.core.metrics.measure import Floats, Measure, of_mean
from ptft.core.metrics.rouge import sentences
from ptft.core.metrics.writing import UNSPACED, Writings
from ptft.core.workers import ordered_map

References = Sequence[Sequence[str]]
_CHARACTERS = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_BLOCK = 1000  # rows a task
_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
# the endings of morphy(7WN), and what takes their place
_ENDINGS = {
    "n": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "v": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "a": "er: est: er:e est:e",
    "r": "",
}


def meteor_measure(
    predictions: Sequence[str], references: References, found: Writings, wordnet: Path | None = None, workers: int = 1
) -> Measure:
    """METEOR, 0-1, averaged over rows (Banerjee and Lavie 2005, with the weights of Lavie and Agarwal 2007: nltk's).

    Of several references the best counts. wordnet: a folder with WordNet's data files (None: no synonyms). Rows in Latin
    letters are aligned by words, as nltk's `word_tokenize` finds them; others by characters and Unicode words, exactly.
    Raises `InputError` where the folder is no WordNet.
    """
    latin = [(row or found.main) == "latin" for row in found.rows]
    if wordnet is not None and any(latin):
        _words_of(wordnet)
    score = partial(_block, wordnet)
    blocks = list(ordered_map(score, _blocks(predictions, references, latin), workers))
    own = np.concatenate(blocks) if blocks else np.empty(0)
    matched = "form, stem" + ("" if wordnet is None else ", synonym")
    used = {matched for flag in latin if flag} | {"form" for flag in latin if not flag}
    return of_mean("meteor", own, matched_by="; ".join(sorted(used)))


def _blocks(
    predictions: Sequence[str], references: References, latin: Sequence[bool]
) -> Iterator[list[tuple[str, Sequence[str], bool]]]:
    rows = list(zip(predictions, references, latin, strict=True))
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _block(wordnet: Path | None, rows: list[tuple[str, Sequence[str], bool]]) -> Floats:
    return np.array([_row(wordnet, *row) for row in rows])


def _row(wordnet: Path | None, prediction: str, references: Sequence[str], latin: bool) -> float:
    words = _words_of(wordnet) if latin and wordnet is not None else _NO_WORDS
    return meteor(_tokens(prediction, latin), [_tokens(text, latin) for text in references], words, stems=latin)


def meteor(prediction: Sequence[str], references: Sequence[Sequence[str]], words: Words, stems: bool = True) -> float:
    """METEOR of one tokenized text. stems: Porter's stems are compared too."""
    from nltk.translate.meteor_score import meteor_score

    stemmer = _stemmer() if stems else _AsTheyAre()
    return float(meteor_score(references, prediction, stemmer=stemmer, wordnet=words))


def _tokens(text: str, latin: bool) -> list[str]:
    if not latin:
        return _CHARACTERS.findall(text)
    from nltk.tokenize import word_tokenize

    # the sentences that it would split with a model which has to be fetched are split here
    return [token for sentence in sentences(text) for token in word_tokenize(sentence, preserve_line=True)]


class _AsTheyAre:
    def stem(self, word: str) -> str:
        return word


class _Stemmer:
    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(maxsize=2**16)(PorterStemmer().stem)


@lru_cache(maxsize=1)
def _stemmer() -> _Stemmer:
    return _Stemmer()


# ---------------------------------------------------------------- WordNet


@dataclass(frozen=True)
class _Named:
    """What nltk asks of a lemma and of a synset."""

    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Synset:
    names: tuple[str, ...]

    def lemmas(self) -> list[_Named]:
        return [_Named(name) for name in self.names]


class Words:
    """Synsets of a word by part of speech, from the files of wndb(5WN): what nltk's reader finds, without its other files.

    index: part -> lemma -> offsets of its synsets in the part's data file. base: part -> inflected form -> lemmas.
    """

    def __init__(self, index: dict[str, dict[str, tuple[int, ...]]], base: dict[str, dict[str, list[str]]],
                 data: dict[str, bytes]) -> None:  # fmt: skip
        self._index, self._base, self._data = index, base, data
        self._known: dict[str, list[_Synset]] = {}

    def synsets(self, word: str) -> list[_Synset]:
        if word not in self._known:
            self._known[word] = [_Synset(names) for names in self._look_up(word.lower())]
        return self._known[word]

    def _look_up(self, word: str) -> Iterator[tuple[str, ...]]:
        for part, lemmas in self._index.items():
            forms = self._base[part].get(word) or [
                word[: len(word) - len(old)] + new
                for old, new in (rule.split(":") for rule in _ENDINGS[part].split())
                if word.endswith(old)
            ]
            for form in dict.fromkeys([word, *forms]):
                for offset in lemmas.get(form, ()):
                    yield self._names(part, offset)

    def _names(self, part: str, offset: int) -> tuple[str, ...]:
        data = self._data[part]
        fields = data[offset : data.index(b"\n", offset)].decode().split(" ")
        names = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        return tuple(re.sub(r"\([^()]*\)$", "", name) for name in names)  # "galore(ip)": where it may stand


_NO_WORDS = Words({}, {}, {})


@lru_cache(maxsize=2)
def _words_of(folder: Path) -> Words:
    try:
        files = {part: (folder / f"data.{name}").read_bytes() for part, name in _PARTS.items()}
        index = {part: _index((folder / f"index.{name}").read_text("utf-8")) for part, name in _PARTS.items()}
        base = {part: _exceptions(folder / f"{name}.exc") for part, name in _PARTS.items()}
    except OSError as error:
        remedy = (
            "name the folder that holds data.noun and index.noun with --set wordnet=DIR (apt-get install wordnet-base)"
        )
        raise InputError(f"no WordNet here: {error}", where=str(folder), remedy=remedy) from error
    return Words(index, base, files)


def _index(text: str) -> dict[str, tuple[int, ...]]:
    """Lemma -> offsets: the last `synset_cnt` numbers of its line."""
    found = {}
    for line in text.splitlines():
        if line and line[0] != " ":
            fields: list[Any] = line.split()
            found[str(fields[0])] = tuple(int(offset) for offset in fields[-int(fields[2]) :])
    return found


def _exceptions(path: Path) -> dict[str, list[str]]:
    lines = (line.split() for line in path.read_text("utf-8").splitlines())
    return {form: lemmas for form, *lemmas in filter(None, lines)}
