"""Weights that are numbers: NaN and infinity are refused before hours of work, and by their own name."""

from __future__ import annotations

from ptft.core.errors import InputError
from ptft.core.models import Loaded


def refuse_not_finite(loaded: Loaded) -> None:
    """Raise `InputError` where a parameter holds NaN or infinity."""
    for name, parameter in loaded.model.named_parameters():
        if not parameter.isfinite().all():
            what = f"the weights hold NaN or infinity: {name}"
            remedy = "use an earlier checkpoint: the training diverged, or the file is damaged"
            raise InputError(what, where=str(loaded.folder), remedy=remedy)
