"""What this processor can."""

from pathlib import Path


def processor_has(flag: str) -> bool:
    """Whether Linux lists it, e.g. amx_bf16."""
    known = Path("/proc/cpuinfo")
    return known.exists() and flag in known.read_text().split()
