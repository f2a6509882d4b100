"""BLEU, chrF and TER by sacrebleu: every row is counted once, and the scores of any resample follow from sums of those counts.

sacrebleu's `13a` takes a whole Chinese sentence for one word (34.3 where `zh` gives 56.0, sacrebleu#147), so the tokenizer
follows the references' writing. The signature always stands beside the score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ptft.core.metrics.edits import edits
from ptft.core.metrics.measure import Floats, Measure, of_sums, ratio
from ptft.core.workers import ordered_map

References = Sequence[Sequence[str]]  # the texts of each row
Settings = tuple[tuple[str, Any], ...]  # what a metric of sacrebleu is made with
NAMES = ("bleu", "chrf", "ter")
_KANA_OR_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_BLOCK = 500  # rows counted together: sacrebleu holds the n-grams of all references that it is given


def translation_measure(
    name: str, predictions: Sequence[str], references: References, main: str, workers: int = 1, **given: Any
) -> Measure:
    """bleu, chrf or ter, 0-100 (ter: 0 and up); each row's own score is sentence BLEU (effective order), chrF or TER.

    main: what the references are written in (`writing`). given: settings of sacrebleu's metric that replace the usual.
    workers: processes that count (0: one a core).
    """
    settings = tuple(sorted({**_usual(name, main), **given}.items()))
    rows = _counted(name, settings, predictions, references, workers)
    metric = _metric(name, settings)
    score = partial(_SCORES[name], metric)
    own = bleu_of(metric, rows, effective=True) if name == "bleu" else score(rows)
    detail = {"signature": _signature(metric, references), **_more(name, metric, rows)}
    return of_sums(name, rows, score, own, **detail)


def _usual(name: str, main: str) -> dict[str, Any]:
    if name == "bleu":
        return {"tokenize": {"zh": "zh", "char": "char"}.get(main, "13a")}
    if name == "ter" and main in ("zh", "char"):
        return {"normalized": True, "asian_support": True}
    return {}


def _signature(metric: Any, references: References) -> str:
    numbers = {len(row) for row in references}
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1  # -1 is shown as "var"
    return str(metric.get_signature())


def _more(name: str, metric: Any, rows: Floats) -> Mapping[str, Any]:
    """BLEU's precisions (of 1-grams, 2-grams ...) and brevity penalty; what TER's edits are of."""
    if name == "ter":
        return {"unit": "characters" if metric.asian_support else "words"}
    if name != "bleu" or not len(rows):
        return {}
    found = metric._compute_score_from_stats([int(count) for count in rows.sum(axis=0)])
    return {"precisions": found.precisions, "brevity_penalty": found.bp}


# ---------------------------------------------------------------- counting


def _counted(name: str, settings: Settings, predictions: Sequence[str], references: References, workers: int) -> Floats:
    """sacrebleu's counts of each row, shape (rows, figures)."""
    blocks = list(ordered_map(partial(_count, name, settings), _blocks(predictions, references), workers))
    return np.concatenate(blocks) if blocks else np.empty((0, _figures(name, settings)))


def _blocks(predictions: Sequence[str], references: References) -> Iterator[tuple[list[str], list[list[str]]]]:
    for start in range(0, len(predictions), _BLOCK):
        stop = start + _BLOCK
        yield list(predictions[start:stop]), [list(row) for row in references[start:stop]]


def _count(name: str, settings: Settings, block: tuple[list[str], list[list[str]]]) -> Floats:
    predictions, references = block
    metric = _metric(name, settings)
    if name == "ter":
        return np.array([_edits(metric, *row) for row in zip(predictions, references, strict=True)])
    most = max(map(len, references))
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    # what sacrebleu's own significance tests resample
    return np.array(metric._extract_corpus_statistics(predictions, streams), dtype=np.float64)


def _edits(metric: Any, prediction: str, references: list[str]) -> tuple[float, float]:
    """Edits to the nearest reference, and the mean length of the references, as sacrebleu's TER has them."""
    written, *wanted = (_words(metric, text) for text in (prediction, *references))
    return min(edits(written, text) for text in wanted), sum(map(len, wanted)) / len(wanted)


def _words(metric: Any, text: str) -> list[str]:
    # Tercom's own rules leave kana and Hangul in one piece
    text = _KANA_OR_HANGUL.sub(r" \g<0> ", text) if metric.asian_support else text
    return metric._preprocess_segment(text).split()


@lru_cache(maxsize=16)
def _metric(name: str, settings: Settings) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if name == "bleu":
        return BLEU(force=True, **dict(settings))  # no warning that the text looks tokenized
    return {"chrf": CHRF, "ter": TER}[name](**dict(settings))


def _figures(name: str, settings: Settings) -> int:
    metric = _metric(name, settings)
    return 2 if name == "ter" else 3 * metric.order if name == "chrf" else 2 + 2 * metric.max_ngram_order


# ---------------------------------------------------------------- scores of sums


def bleu_of(metric: Any, sums: Floats, effective: bool | None = None) -> Floats:
    """BLEU of each line of counts (Papineni et al. 2002, eq. 3 and 4), smoothed as sacrebleu's `compute_bleu` does.

    sums: (resamples, 2 + 2 * order): tokens written, tokens wanted, right n-grams by order, n-grams by order.
    effective: orders of which a text has no n-grams do not count.
    """
    order, value = metric.max_ngram_order, metric.smooth_value
    value = metric.SMOOTH_DEFAULTS[metric.smooth_method] if value is None else value
    right, total = sums[:, 2 : 2 + order].copy(), sums[:, 2 + order :].copy()
    some = right.any(axis=1)
    if metric.smooth_method == "add-k":
        right[:, 1:] += value
        total[:, 1:] += value
    has = np.cumprod(total > 0, axis=1, dtype=bool)
    smoothed = right + _added(metric.smooth_method, value, (right == 0) & has)
    logs = np.log(100 * ratio(smoothed, total), out=np.full(total.shape, -np.inf), where=has & (smoothed > 0))
    effective = metric.effective_order if effective is None else effective
    orders = np.maximum(has.sum(axis=1), 1) if effective else order
    mean = np.where(has, logs, 0.0 if effective else -np.inf).sum(axis=1) / orders
    return np.where(some, _brevity(sums[:, 0], sums[:, 1]) * np.exp(mean), 0.0)


def _added(method: str, value: float | None, empty: Any) -> Floats:
    """What is counted as right where no n-gram of an order is."""
    if method == "exp":
        return np.where(empty, 0.5 ** np.cumsum(empty, axis=1), 0.0)
    return np.where(empty, (value or 0.0) if method == "floor" else 0.0, 0.0)


def _brevity(written: Floats, wanted: Floats) -> Floats:
    short = written < wanted
    ratios = np.divide(wanted, written, out=np.full(wanted.shape, np.inf), where=written > 0)
    return np.exp(np.where(short, 1 - ratios, 0.0))


def _chrf_of(metric: Any, sums: Floats) -> Floats:
    """chrF of each line of counts (Popović 2015). sums: (resamples, 3 * order): n-grams written, wanted, and in both."""
    written, wanted, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    factor, eps = metric.beta**2, 1e-16
    precision = np.divide(both, written, out=np.full(both.shape, eps), where=written > 0)
    recall = np.divide(both, wanted, out=np.full(both.shape, eps), where=wanted > 0)
    if metric.eps_smoothing:
        below = factor * precision + recall
        return 100 * np.divide(
            (1 + factor) * precision * recall, below, out=np.full(both.shape, eps), where=below > 0
        ).mean(axis=1)
    counts = (written > 0) & (wanted > 0)
    orders = np.maximum(counts.sum(axis=1), 1)
    precision, recall = ((np.where(counts, part, 0.0)).sum(axis=1) / orders for part in (precision, recall))
    return 100 * np.nan_to_num(ratio((1 + factor) * precision * recall, factor * precision + recall))


def _ter_of(metric: Any, sums: Floats) -> Floats:
    """Edits per 100 tokens wanted (Snover et al. 2006); 100 where none are wanted and some are written."""
    edits, wanted = sums[:, 0], sums[:, 1]
    return 100 * np.divide(edits, wanted, out=(edits > 0).astype(np.float64), where=wanted > 0)


_SCORES = {"bleu": bleu_of, "chrf": _chrf_of, "ter": _ter_of}
