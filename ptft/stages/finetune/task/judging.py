"""Which figure tells the best weights."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ptft.core.errors import UsageError
from ptft.core.metrics.names import LOWER_IS_BETTER
from ptft.stages.finetune.purpose import Better

LOSS = "loss"


def better(asked: str, fits: Sequence[str], usual: str) -> Better:
    """The metric of --metric ("auto": the usual one), or the validation loss by the name `LOSS`.

    Raises `UsageError` for one that the task does not have.
    """
    name = usual if asked == "auto" else asked
    if name == LOSS:
        return Better()
    if name not in fits:
        close = difflib.get_close_matches(name.lower(), fits, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"no metric {name!r} here", remedy=f"{hint}--metric takes {', '.join((*fits, LOSS))}")
    return Better(name, higher=name not in LOWER_IS_BETTER)
