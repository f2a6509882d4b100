"""Exports measured beside the original, each in a process of its own, by the scripts in `alone`, which know no ptft."""

from ptft.stages.export.verifying.figures import Quality, Speed, Verified
from ptft.stages.export.verifying.verifier import Verifier

__all__ = ["Quality", "Speed", "Verified", "Verifier"]
