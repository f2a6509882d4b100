"""Where an augmented row comes from: what `ptft clean --augment` writes into it, and whoever splits or augments reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def source_id(data: Mapping[str, Any]) -> str | None:
    """The id of the row that this one was made from; None for a row that is nobody's copy.

    An augmented row has {"augmented": {"from": ID, "how": ..., ...}}.
    """
    made = data.get("augmented")
    return str(made["from"]) if isinstance(made, Mapping) and made.get("from") is not None else None
