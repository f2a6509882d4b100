"""Scores of short answers: exact match and F1 over their tokens, after SQuAD's normalisation; Chinese by characters."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_mean, scores
from ptft.core.metrics.text import UNSPACED

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_ASCII = str.maketrans("", "", string.punctuation)


def spans(
    predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `span_measures`."""
    return scores(span_measures(predictions, references, names), resamples)


def span_measures(
    predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str]
) -> list[Measure]:
    """exact_match and token_f1, 0-1, averaged over rows; see `span_rows`."""
    rows = span_rows(predictions, references, names)
    return [of_mean(name, rows[:, column]) for column, name in enumerate(names)]


def span_rows(predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str]) -> Floats:
    """Scores of shape (rows, names), as SQuAD 2.0's own script has them; of several references the best counts.

    No reference, or none of which anything is left: the question has no answer, and only an empty prediction is right.
    """
    return np.array(
        [
            [max(_SCORES[name](prediction, wanted) for wanted in answers) for name in names]
            for prediction, answers in zip(predictions, map(_answers, references), strict=True)
        ],
        dtype=np.float64,
    ).reshape(len(predictions), len(names))


def _answers(references: Sequence[str]) -> Sequence[str]:
    return [text for text in references if normalised(text)] or ("",)


def normalised(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; in Chinese, Japanese or Thai also none of their punctuation."""
    text = text.lower().translate(_ASCII)
    if _IS_UNSPACED.search(text):
        text = "".join(" " if unicodedata.category(char)[0] == "P" else char for char in text)
    return " ".join(_ARTICLE.sub(" ", text).split())


def tokens(text: str) -> list[str]:
    """Of a normalised text: words, and single characters where writing has no spaces."""
    return _TOKEN.findall(text)


def exact_match(prediction: str, reference: str) -> float:
    # spaces between Chinese characters are the tokenizer's, not the writer's
    return float(tokens(normalised(prediction)) == tokens(normalised(reference)))


def token_f1(prediction: str, reference: str) -> float:
    made, wanted = tokens(normalised(prediction)), tokens(normalised(reference))
    if not made or not wanted:
        return float(made == wanted)
    both = sum((Counter(made) & Counter(wanted)).values())
    return 2 * both / (len(made) + len(wanted))


_SCORES = {"exact_match": exact_match, "token_f1": token_f1}
