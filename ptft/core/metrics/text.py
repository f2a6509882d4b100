"""BLEU and chrF (sacrebleu) and ROUGE (rouge_score), with tokens chosen by the references' writing.

rouge_score's own tokenizer keeps a-z and 0-9 only, so identical Chinese texts get 0.0; sacrebleu's `13a` takes a whole
Chinese sentence for one word (34.3 where `zh` gives 56.0, sacrebleu#147).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.bootstrap import RESAMPLES, Floats, over_rows

Score = dict[str, Any]
References = Sequence[str | Sequence[str]]  # one text a row, or several of which the best counts

_CHINESE = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
UNSPACED = _CHINESE + r"\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # and kana, Thai, Lao, Burmese, Khmer
_CHINESE_CHARACTER = re.compile(f"[{_CHINESE}]")
_KANA_OR_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
OTHER_SHARE = 0.1  # of letters that are not Latin: above it a text is not taken for English


def writing(texts: Sequence[str]) -> str:
    """ "zh" (Chinese characters), "char" (kana, Hangul), "latin" or "other": what most of the letters that decide are."""
    joined = "\n".join(texts)
    letters, latin = len(_LETTER.findall(joined)), len(_LATIN.findall(joined))
    if letters - latin <= OTHER_SHARE * letters:
        return "latin"
    kana, chinese = len(_KANA_OR_HANGUL.findall(joined)), len(_CHINESE_CHARACTER.findall(joined))
    if kana > OTHER_SHARE * (letters - latin):
        return "char"
    return "zh" if chinese > (letters - latin) / 2 else "other"


# ---------------------------------------------------------------- BLEU, chrF


def bleu(
    predictions: Sequence[str], references: References, *, tokenize: str = "auto", resamples: int = RESAMPLES
) -> Score:
    """Corpus BLEU, 0-100 (Papineni et al. 2002), by sacrebleu; its signature is always part of the score.

    tokenize: a tokenizer of sacrebleu, or "auto": `zh` for Chinese references, `char` for Japanese and Korean, else `13a`.
    """
    from sacrebleu.metrics.bleu import BLEU

    if tokenize == "auto":
        tokenize = {"zh": "zh", "char": "char"}.get(writing(_flat(references)), "13a")
    return _sacrebleu(BLEU(tokenize=tokenize), predictions, references, resamples)


def chrf(predictions: Sequence[str], references: References, *, resamples: int = RESAMPLES) -> Score:
    """Corpus chrF2, 0-100 (Popović 2015), by sacrebleu: characters, so no tokenizer is chosen."""
    from sacrebleu.metrics.chrf import CHRF

    return _sacrebleu(CHRF(), predictions, references, resamples)


def _sacrebleu(metric: Any, predictions: Sequence[str], references: References, resamples: int) -> Score:
    texts = [[row] if isinstance(row, str) else list(row) for row in references]
    streams = [[row[i] if i < len(row) else None for row in texts] for i in range(max(map(len, texts)))]
    metric.num_refs = len(streams)  # for the signature
    # these two methods are what sacrebleu's own significance tests resample with
    rows = np.array(metric._extract_corpus_statistics(list(predictions), streams), dtype=np.float64)

    def statistic(sums: Floats) -> npt.NDArray[np.float64]:
        return np.array([metric._compute_score_from_stats([int(x) for x in row]).score for row in sums])

    score = metric._compute_score_from_stats([int(x) for x in rows.sum(axis=0)])
    interval = over_rows(rows, statistic, resamples)
    found: Score = {"score": float(score.score), "ci95": interval, "signature": str(metric.get_signature())}
    if hasattr(score, "bp"):
        found |= {"precisions": score.precisions, "brevity_penalty": score.bp}
    return found


# ---------------------------------------------------------------- ROUGE


class UnicodeTokens:
    """A tokenizer for rouge_score: a character a token where writing has no spaces, else words; lower case."""

    def tokenize(self, text: str) -> list[str]:
        return _TOKEN.findall(text.lower())


def rouge(
    predictions: Sequence[str], references: References, names: Sequence[str], *, stemmer: bool = False,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:  # fmt: skip
    """F-measures of ROUGE, 0-1, averaged over rows (Lin 2004), by rouge_score; rougeLsum takes a line for a sentence.

    names: of rouge1, rouge2, rougeL, rougeLsum. Of several references the best counts. English is tokenized as rouge_score
    does; other writing by characters (Chinese, Japanese, Thai) or Unicode words. stemmer: Porter's, for English only.
    """
    return rouge_of(*rouge_rows(predictions, references, names, stemmer=stemmer), names, resamples=resamples)


def rouge_of(
    rows: npt.NDArray[np.float64], tokenizer: str, names: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Score]:
    """The scores of `rouge` from what `rouge_rows` found."""
    mean = partial(_mean, count=len(rows))
    return {
        name: {
            "score": float(rows[:, i].mean()),
            "ci95": over_rows(rows[:, i : i + 1], mean, resamples),
            "tokenizer": tokenizer,
        }
        for i, name in enumerate(names)
    }


def rouge_rows(
    predictions: Sequence[str], references: References, names: Sequence[str], *, stemmer: bool = False
) -> tuple[npt.NDArray[np.float64], str]:
    """F-measures, shape (rows, names), and what tokenized."""
    from rouge_score.rouge_scorer import RougeScorer

    english = writing(_flat(references)) == "latin"
    scorer = RougeScorer(list(names), use_stemmer=stemmer, tokenizer=None if english else UnicodeTokens())
    rows = []
    for prediction, row in zip(predictions, references, strict=True):
        found = scorer.score_multi([row] if isinstance(row, str) else list(row), prediction)
        rows.append([found[name].fmeasure for name in names])
    used = f"rouge_score default{', Porter stemmer' if stemmer else ''}" if english else "characters and Unicode words"
    return np.array(rows, dtype=np.float64), used


def _mean(sums: Floats, count: int) -> npt.NDArray[np.float64]:
    return sums[:, 0] / count


def _flat(references: References) -> list[str]:
    return [text for row in references for text in ([row] if isinstance(row, str) else row)]
