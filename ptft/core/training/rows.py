"""Tokenised rows of unequal length: in flat arrays, on disk where several processes read them, and padded into batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptft.core.encoding import IGNORED
from ptft.core.training.data import Example

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Examples by number. columns: flat arrays (tokens,) by name, "input_ids" among them; ends: where each row ends (rows,).

    labels: (rows, ...), of tasks that have labels a row; where they are a token's they are among the columns. They come out
    as torch tensors, ids as int64.
    """

    columns: Mapping[str, Array]
    ends: npt.NDArray[np.int64]
    labels: Array | None = None

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Sequence[int]]], labels: Sequence[Any] | None = None) -> Rows:
        """From mappings of the same names, each a list of one length. labels: int, or float for numbers and several classes."""
        parts: dict[str, list[npt.NDArray[np.int32]]] = {}
        ends, total = [], 0
        for row in rows:
            for name, values in row.items():
                parts.setdefault(name, []).append(np.asarray(values, dtype=np.int32))
            total += len(row["input_ids"])
            ends.append(total)
        columns = {name: np.concatenate(values) for name, values in parts.items()}
        found = None if labels is None else np.asarray(labels)
        if found is not None:
            found = found.astype(np.float32 if found.dtype.kind == "f" else np.int64)
        return cls(columns, np.asarray(ends, dtype=np.int64), found)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row (rows,)."""
        return np.diff(self.ends, prepend=0)

    def __getitem__(self, index: int) -> Example:
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        row = {name: torch.from_numpy(values[start:end].astype(np.int64)) for name, values in self.columns.items()}
        if self.labels is not None:
            row["labels"] = torch.from_numpy(np.array(self.labels[index]))
        return row

    def chosen(self, indices: Sequence[int]) -> Rows:
        """Some of the rows, in the order given."""
        spans = [(int(self.ends[i - 1]) if i else 0, int(self.ends[i])) for i in indices]
        columns = {
            name: np.concatenate([values[start:end] for start, end in spans]) if spans else values[:0]
            for name, values in self.columns.items()
        }
        ends = np.cumsum([end - start for start, end in spans], dtype=np.int64)
        return Rows(columns, ends, None if self.labels is None else self.labels[list(indices)])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in self.columns.items():
            np.save(folder / f"column-{name}.npy", values)
        if self.labels is not None:
            np.save(folder / "labels.npy", self.labels)
        np.save(folder / "ends.npy", self.ends)  # last: what is there is whole

    @classmethod
    def load(cls, folder: Path) -> Rows:
        """What `save` wrote, memory-mapped."""
        columns = {
            path.stem.removeprefix("column-"): np.load(path, mmap_mode="r")
            for path in sorted(folder.glob("column-*.npy"))
        }
        labels = folder / "labels.npy"
        return cls(columns, np.load(folder / "ends.npy"), np.load(labels) if labels.exists() else None)


@dataclass(frozen=True)
class Pairs:
    """A source and a target each, of unequal lengths: "input_ids" and "labels" of an encoder-decoder."""

    sources: Rows
    targets: Rows

    @classmethod
    def of(cls, sources: Iterable[Sequence[int]], targets: Iterable[Sequence[int]]) -> Pairs:
        return cls(Rows.of({"input_ids": row} for row in sources), Rows.of({"input_ids": row} for row in targets))

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each pair (rows,), both sides."""
        return self.sources.lengths + self.targets.lengths

    def __getitem__(self, index: int) -> Example:
        return {**self.sources[index], "labels": self.targets[index]["input_ids"]}

    def save(self, folder: Path) -> None:
        self.targets.save(folder / "targets")
        self.sources.save(folder / "sources")

    @classmethod
    def load(cls, folder: Path) -> Pairs:
        return cls(Rows.load(folder / "sources"), Rows.load(folder / "targets"))


@dataclass(frozen=True)
class Padding:
    """Examples of unequal length as one right-padded batch with "attention_mask". pad_id: of "input_ids".

    Padding is told by length, never by id, so an end-of-text token that doubles as padding is still learnt (trl#1623). Labels a
    token are padded with `IGNORED`, to the longest labels (those of `Pairs` have a length of their own); labels a row are stacked. A batch without padding keeps its mask: a model with its own
    pooling asks for it.
    """

    pad_id: int
    token_labels: bool = True

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        batch = {name: self._column(name, examples) for name in examples[0]}
        mask = torch.zeros((len(examples), longest), dtype=torch.int64)
        for row, example in enumerate(examples):
            mask[row, : len(example["input_ids"])] = 1
        return {**batch, "attention_mask": mask}

    def _column(self, name: str, examples: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        if name == "labels" and not self.token_labels:
            return torch.stack([torch.as_tensor(example[name]) for example in examples])
        fill = {"input_ids": self.pad_id, "labels": IGNORED}.get(name, 0)
        longest = max(len(example[name]) for example in examples)
        padded = torch.full((len(examples), longest), fill, dtype=torch.int64)
        for row, example in enumerate(examples):
            padded[row, : len(example[name])] = example[name]
        return padded


@dataclass(frozen=True)
class Flat:
    """Examples one behind the other in a batch of one row: no padding and no mask, only "position_ids" that restart.

    For the families in `isolation.BY_POSITIONS`, which keep documents apart by them. The first token of an example must have no
    label: it would be predicted from the example before.
    """

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        places = [example.get("position_ids", torch.arange(len(example["input_ids"]))) for example in examples]
        batch = {name: torch.cat([example[name] for example in examples])[None] for name in ("input_ids", "labels")}
        return {**batch, "position_ids": torch.cat(places)[None]}
