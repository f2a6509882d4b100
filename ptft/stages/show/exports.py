"""What `ptft export` wrote of one export, or of several: sizes, and how far each is from the original."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from ptft.core.contracts import EXPORT_FILE
from ptft.core.progress import Table, table_of

MB = 1e6


def one(folder: Path) -> list[Table]:
    """Nothing of a file that another tool wrote under that name."""
    try:
        listed = orjson.loads((folder / EXPORT_FILE).read_bytes())
        return [_several(listed)] if "exports" in listed else [_single(listed)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _several(listed: Mapping[str, Any]) -> Table:
    rows = []
    for name, export in listed["exports"].items():
        shown = f"{name} (best)" if name == listed["best"] else name
        rows.append([shown, export["bytes"] / MB, export["bits_a_quantised_weight"], *_quality(export["verify"])])
    title = f"exports of {listed['bytes_before'] / MB:,.1f} MB; best: {listed['rule'].partition(';')[0]}"
    return table_of(title, ("export", "MB", "bits", "loss", "KL", "same first"), rows)


def _quality(verify: Mapping[str, Any]) -> list[object]:
    rise, same = verify.get("loss_increase"), verify.get("first_choice_equal")
    return [
        None if rise is None else f"{rise:+.2%}", verify.get("kl"), None if same is None else f"{same:.1%}"
    ]  # fmt: skip


def _single(export: Mapping[str, Any]) -> Table:
    sizes, verify = export["bytes"], export["verify"]
    rise, kl, same = _quality(verify)
    rows: list[tuple[str, object]] = [
        ("format", export["format"]), ("scheme", export["scheme"]),
        ("MB", f"{sizes['before']['total'] / MB:,.2f} -> {sizes['after']['total'] / MB:,.2f}"),
        ("bits a quantised weight", export["bits_a_quantised_weight"]),
        ("compared on", "built-in sentences" if verify["built_in"] else f"{verify['rows']:,} rows"),
        ("loss", rise), ("KL from the original", kl), ("same first choice", same),
        *(("note", note) for note in export["notes"]),
    ]  # fmt: skip
    return table_of("the export", ("", ""), rows)
