"""`signals.parquet`: what was measured of every row, kept or dropped, in the order of the input.

So that limits can be chosen by looking (any Parquet reader opens it), and applied again without measuring again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.errors import InputError
from ptft.core.language import LANGUAGES
from ptft.stages.clean.signals.measure import F32, NAMES

FILE = "signals.parquet"
MEASURING = b"ptft.measuring"  # in the file's metadata
GROUP = 1 << 14  # rows of a row group, however the rows come: the same bytes for any blocks


class SignalWriter:
    """Writes the table, a block of rows at a time."""

    def __init__(self, folder: Path, measuring: Mapping[str, Any]) -> None:
        """measuring: what decided the measures, for whoever reads them again."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [("id", pa.string()), ("kept", pa.bool_()), ("rule", pa.string()), ("language", pa.string()), ("language_score", pa.float32()),
                   ("bytes_in", pa.uint32()), ("bytes", pa.uint32()), ("tokens", pa.uint32()), ("protected", pa.string())]  # fmt: skip
        noted = {MEASURING: orjson.dumps(measuring, option=orjson.OPT_SORT_KEYS)}
        self._schema = pa.schema([*columns, *((name, pa.float32()) for name in NAMES)], noted)
        self._writer = pq.ParquetWriter(folder / FILE, self._schema, compression="zstd")
        self._held = self._schema.empty_table()

    def write(
        self,
        lines: Sequence[bytes],
        kept: Any,
        rules: Sequence[str],
        facts: Any,
        measures: F32,
        protected: Mapping[str, str],
    ) -> None:
        """lines: the rows as JSON. protected: the evaluation row that a row shares text with, by the row's place here."""
        import pyarrow as pa

        values = {
            "id": [orjson.loads(line)["id"] for line in lines], "kept": kept, "rule": [rule or None for rule in rules],
            "language": [LANGUAGES[code] for code in facts["language"].tolist()],
            "language_score": facts["score"],
            "bytes_in": facts["bytes_in"], "bytes": facts["bytes_out"], "tokens": facts["tokens"],
            "protected": [protected.get(str(row)) for row in range(len(lines))],
        }  # fmt: skip
        arrays = [
            pa.array(values[field.name], field.type)
            if field.name in values
            else pa.array(
                measures[:, NAMES.index(field.name)], field.type, mask=np.isnan(measures[:, NAMES.index(field.name)])
            )
            for field in self._schema
        ]
        self._held = pa.concat_tables([self._held, pa.Table.from_arrays(arrays, schema=self._schema)])
        while len(self._held) >= GROUP:
            self._flush(GROUP)

    def _flush(self, rows: int) -> None:
        self._writer.write_table(self._held.slice(0, rows).combine_chunks(), row_group_size=GROUP)
        self._held = self._held.slice(rows)

    def __enter__(self) -> SignalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._held):
            self._flush(GROUP)
        self._writer.close()


@dataclass(frozen=True)
class Signals:
    """n rows of the table. measures: (n, len(NAMES))."""

    kept: list[bool]
    empty: list[bool]  # nothing was left of the text: the row holds what it was before
    languages: list[str]
    scores: F32
    bytes_in: Any
    protected: list[str]
    measures: F32


def read_measuring(folder: Path) -> dict[str, Any]:
    """What decided the measures of an earlier result."""
    return dict(orjson.loads((_opened(folder).schema_arrow.metadata or {}).get(MEASURING, b"{}")))


def read_signals(folder: Path, rows: int) -> Iterator[Signals]:
    """The table of an earlier result, `rows` at a time."""
    for batch in _opened(folder).iter_batches(batch_size=rows):
        column = batch.column
        yield Signals(
            column("kept").to_pylist(),
            [rule == "empty" for rule in column("rule").to_pylist()],
            column("language").to_pylist(),
            column("language_score").to_numpy(zero_copy_only=False),
            column("bytes_in").to_numpy(zero_copy_only=False),
            [name or "" for name in column("protected").to_pylist()],
            np.stack([column(name).to_numpy(zero_copy_only=False) for name in NAMES], axis=1).astype(np.float32),
        )


def _opened(folder: Path) -> Any:
    """The file. Raises `InputError` where there is none, or an older form of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(folder / FILE)
    except (OSError, pa.ArrowException) as error:
        what = f"no {FILE} that can be read: {error}"
        raise InputError(what, where=str(folder), remedy="name a folder that `ptft clean` made") from error
    if not {*NAMES, "protected"} <= set(file.schema_arrow.names):
        remedy = "clean the input again with this version of ptft"
        raise InputError(f"{FILE} is of another version of ptft", where=str(folder), remedy=remedy)
    return file
