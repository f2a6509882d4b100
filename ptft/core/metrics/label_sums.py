"""How often each label was right, predicted and there, in any resample of the rows: what most scores of labels follow from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.metrics.blocks import Ids, once_a_block
from ptft.core.metrics.measure import Floats


@dataclass(frozen=True)
class LabelSums:
    """By resample and label, shape (resamples, labels): decisions that were right, that were made, that were to be made."""

    right: Floats
    predicted: Floats
    actual: Floats

    @cached_property
    def precision(self) -> Floats:
        return share(self.right, self.predicted)

    @cached_property
    def recall(self) -> Floats:
        return share(self.right, self.actual)

    @cached_property
    def f1(self) -> Floats:
        return share(2 * self.right, self.predicted + self.actual)

    def macro(self, figure: str) -> Floats:
        """The mean over the labels that occur in the resample, as reference or as prediction."""
        occurs = (self.predicted + self.actual) > 0
        return share((getattr(self, figure) * occurs).sum(axis=1), occurs.sum(axis=1).astype(np.float64))

    def weighted(self, figure: str) -> Floats:
        """The mean over labels, each as often as it was to be predicted."""
        return share((getattr(self, figure) * self.actual).sum(axis=1), self.actual.sum(axis=1))

    def micro(self, figure: str) -> Floats:
        """Of all decisions together."""
        pooled = LabelSums(*(sums.sum(axis=1) for sums in (self.right, self.predicted, self.actual)))
        found: Floats = getattr(pooled, figure)
        return found

    def per_class(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Each label's own figures in the first resample."""
        columns = (self.precision[0], self.recall[0], self.f1[0], self.actual[0])
        return {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for label, p, r, f, s in zip(labels, *columns, strict=True)
        }


AVERAGES: dict[str, Callable[[LabelSums, str], Floats]] = {
    "macro": LabelSums.macro, "micro": LabelSums.micro, "weighted": LabelSums.weighted,
}  # fmt: skip


def share(parts: Floats, wholes: Floats) -> Floats:
    """parts / wholes; 0 where the whole is nothing, as in scikit-learn."""
    return parts / np.where(wholes > 0, wholes, 1.0)


# ---------------------------------------------------------------- from rows


def of_pairs(rows: Ids, references: Ids, predictions: Ids, count: int, labels: int) -> Callable[[Floats], LabelSums]:
    """Sums of pairs of label numbers, each of which belongs to one of `count` rows. rows, references, predictions: (pairs,).

    Rows are counted by the pairs that occur, of which there are few; only those counts are taken apart by label.
    """
    pairs, which = np.unique(references * labels + predictions, return_inverse=True)
    by_pair = sparse(rows, which, (count, len(pairs)))
    wanted, made = np.divmod(pairs, max(labels, 1))
    places, right = np.arange(len(pairs)), wanted == made
    shape = (len(pairs), labels)
    apart = (
        sparse(places[right], wanted[right], shape), sparse(places, made, shape), sparse(places, wanted, shape),
    )  # fmt: skip

    def sums(draws: Floats) -> LabelSums:
        drawn = draws @ by_pair
        return LabelSums(*(drawn @ matrix for matrix in apart))

    return once_a_block(sums)


def of_flags(references: npt.NDArray[np.bool_], predictions: npt.NDArray[np.bool_]) -> Callable[[Floats], LabelSums]:
    """Sums of flags, both of shape (rows, labels)."""
    from scipy.sparse import csr_array

    apart = [csr_array(flags.astype(np.float64)) for flags in (references & predictions, predictions, references)]
    return once_a_block(lambda draws: LabelSums(*(draws @ matrix for matrix in apart)))


def numbered(labels: Sequence[str], given: Iterable[str]) -> Ids:
    """Each given label's place among the labels."""
    places = {label: place for place, label in enumerate(labels)}
    return np.fromiter((places[label] for label in given), np.int64)


def sparse(rows: Ids, columns: Ids, shape: tuple[int, int]) -> Any:
    """A sparse matrix that counts its cells: scipy's csr_array of float64."""
    from scipy.sparse import coo_array

    return coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
