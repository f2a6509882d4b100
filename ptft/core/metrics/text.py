"""Metrics of texts that were written, against texts that were wanted: BLEU, chrF, TER, ROUGE, METEOR, BERTScore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.metrics import rouge as rouges
from ptft.core.metrics import translation
from ptft.core.metrics.measure import RESAMPLES, Measure, Score, scores
from ptft.core.metrics.writing import UNSPACED, writing, writings

if TYPE_CHECKING:
    from ptft.core.metrics.kinds import Options

__all__ = ["UNSPACED", "bleu", "chrf", "rouge", "ter", "text_measures", "writing"]

References = Sequence[str | Sequence[str]]  # one text a row, or several of which the best counts


def text_measures(
    predictions: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str], options: Options
) -> list[Measure]:
    """The metrics `names` (of names.TEXTS), in that order. references: the texts of each row, at least one.

    What the references are written in decides the tokens; where more than a tenth of the rows are written otherwise than
    the rest, "mixed" in the detail has the shares. Raises `InputError` where a row has no reference.
    """
    require_references(predictions, references)
    found = writings(references)
    mixed = {"mixed": found.mixed} if found.mixed else {}
    measures: dict[str, Measure] = {}
    for name in translation.NAMES:
        if name in names:
            measures[name] = translation.translation_measure(name, predictions, references, found.main, options.workers)
    if asked := [name for name in names if name in rouges.NAMES]:
        made = rouges.rouge_measures(predictions, references, asked, found, workers=options.workers)
        measures |= {measure.name: measure for measure in made}
    if "meteor" in names:
        from ptft.core.metrics.meteor import meteor_measure

        measures["meteor"] = meteor_measure(predictions, references, found, options.wordnet, options.workers)
    if "bertscore" in names:
        from ptft.core.metrics.bertscore import bertscore_measure

        measures["bertscore"] = bertscore_measure(predictions, references, options.bertscore)
    return [_with(measures[name], mixed) for name in names if name in measures]


def require_references(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raises `InputError` where there are not as many predictions as references, or a row has none to compare with."""
    if len(predictions) != len(references):
        raise InputError(
            f"{len(predictions):,} predictions for {len(references):,} rows of references",
            remedy="give a prediction for every row",
        )
    if bare := [number for number, row in enumerate(references, 1) if not row]:
        raise InputError(
            f"{len(bare):,} rows have no reference, the first is row {bare[0]:,}",
            remedy='give each a "reference" (an empty text is one), or leave those rows out',
        )


def _with(measure: Measure, more: dict[str, Any]) -> Measure:
    return replace(measure, detail={**measure.detail, **more})


# ---------------------------------------------------------------- one metric by itself


def bleu(
    predictions: Sequence[str], references: References, *, tokenize: str = "auto", resamples: int = RESAMPLES, **given: Any
) -> Score:  # fmt: skip
    """Corpus BLEU, 0-100 (Papineni et al. 2002), by sacrebleu; its signature is always part of the score.

    tokenize: a tokenizer of sacrebleu, or "auto": `zh` for Chinese references, `char` for Japanese and Korean, else `13a`.
    given: other settings of sacrebleu's BLEU (smooth_method, lowercase, ...).
    """
    return _one(
        "bleu", predictions, references, resamples, given if tokenize == "auto" else {"tokenize": tokenize, **given}
    )


def chrf(predictions: Sequence[str], references: References, *, resamples: int = RESAMPLES, **given: Any) -> Score:
    """Corpus chrF2, 0-100 (Popović 2015), by sacrebleu: characters, so no tokenizer is chosen."""
    return _one("chrf", predictions, references, resamples, given)


def ter(predictions: Sequence[str], references: References, *, resamples: int = RESAMPLES, **given: Any) -> Score:
    """Translation edit rate, 0 and up (Snover et al. 2006), as sacrebleu has it; lower is better."""
    return _one("ter", predictions, references, resamples, given)


def _one(name: str, predictions: Sequence[str], references: References, resamples: int, given: dict[str, Any]) -> Score:
    rows = _rows(references)
    require_references(predictions, rows)
    main = writings(rows).main
    return scores([translation.translation_measure(name, predictions, rows, main, **given)], resamples)[name]


def rouge(
    predictions: Sequence[str], references: References, names: Sequence[str], *, stemmer: bool = False, split: bool = True,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:  # fmt: skip
    """F-measures of ROUGE, 0-1, averaged over rows (Lin 2004); see `rouge_measures`."""
    rows = _rows(references)
    require_references(predictions, rows)
    return scores(
        rouges.rouge_measures(predictions, rows, names, writings(rows), stemmer=stemmer, split=split), resamples
    )


def _rows(references: References) -> list[Sequence[str]]:
    return [[row] if isinstance(row, str) else row for row in references]
