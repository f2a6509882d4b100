"""Scores of log-likelihoods: the likeliest of several continuations (as in lm-evaluation-harness), the likelier of two texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptft.core.metrics.measure import RESAMPLES, Floats, Measure, Score, of_mean, scores

Answer = int | Sequence[int]  # which choice is right, or which ones are
Columns = Sequence[Sequence[float]]  # by row, then by choice


def choices(
    answers: Sequence[Answer],
    loglikelihoods: Columns,
    lengths: Columns,
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Score]:
    """The scores `names` with their intervals; see `choice_measures`."""
    return scores(choice_measures(answers, loglikelihoods, lengths, names), resamples)


def choice_measures(
    answers: Sequence[Answer], loglikelihoods: Columns, lengths: Columns, names: Sequence[str]
) -> list[Measure]:
    """acc: share of rows whose likeliest choice is right; acc_norm: likeliest by log-likelihood / length in characters.

    Of choices alike the first is taken. Rows may have different numbers of choices. Raises `ValueError` for a row without
    choices, a log-likelihood that is not a number, and an answer that is none of the choices.
    """
    rights = [_right(row, *given) for row, given in enumerate(zip(answers, loglikelihoods, lengths, strict=True), 1)]
    taken = {
        "acc": [_first_largest(np.asarray(row, float)) for row in loglikelihoods],
        "acc_norm": [_first_largest(_by_length(*row)) for row in zip(loglikelihoods, lengths, strict=True)],
    }
    return [
        of_mean(name, np.array([float(made in right) for made, right in zip(taken[name], rights, strict=True)]))
        for name in names
    ]


def preference_measure(loglikelihoods: Columns) -> Measure:
    """Share of rows of which the first text is likelier than the second; a tie counts half. detail: gap, the mean distance in nats."""
    table = np.asarray(loglikelihoods, dtype=np.float64).reshape(len(loglikelihoods), 2)
    if len(bad := np.flatnonzero(np.isnan(table).any(axis=1))):
        raise ValueError(f"row {bad[0] + 1:,}: a log-likelihood is not a number")
    first, second = table.T
    ties = int((first == second).sum())
    gap = float(np.abs(first - second).mean()) if len(table) else None
    return of_mean("preference", np.where(first == second, 0.5, first > second), ties=ties, gap=gap)


def _right(row: int, answer: Answer, loglikelihoods: Sequence[float], lengths: Sequence[float]) -> set[int]:
    count = len(loglikelihoods)
    right = {answer} if isinstance(answer, int | np.integer) else set(answer)
    if not count or count != len(lengths):
        raise ValueError(f"row {row:,}: {count} log-likelihoods, and {len(lengths)} lengths")
    if not right or not right <= set(range(count)):
        raise ValueError(f"row {row:,}: the answer {answer!r} is none of {count} choices, which count from 0")
    if np.isnan(np.asarray(loglikelihoods, float)).any():
        raise ValueError(f"row {row:,}: a log-likelihood is not a number")
    return right


def _by_length(loglikelihoods: Sequence[float], lengths: Sequence[float]) -> Floats:
    """Nats a character; a choice without characters is the last to be taken."""
    sizes = np.asarray(lengths, float)
    found = np.full(len(sizes), -np.inf)
    return np.divide(np.asarray(loglikelihoods, float), sizes, out=found, where=sizes > 0)


def _first_largest(values: Floats) -> int:
    return int(values.argmax())
