"""What is wanted of a weight matrix, and what quantising it makes. Everything passes these; formats pack `Quantised`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ptft.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

GROUPS = (0, 32, 64, 128)
SCALE_BITS = 16  # what formats store of a scale; zero points take as many bits as a weight
Method = Literal["rtn", "hqq", "gptq", "awq"]
Activations = Literal["none", "dynamic", "static"]
CALIBRATED: tuple[Method, ...] = ("gptq", "awq")


@dataclass(frozen=True)
class Scheme:
    """How one matrix is quantised. group: weights of a row that share a scale; 0: the whole row (an output channel).

    symmetric: no zero point. activations: of the layer's inputs, in 8 bits: scales as they come (a token's;
    in ONNX Runtime one for all tokens of a pass), or found before.
    Raises `UsageError` for what is none of these.
    """

    bits: Literal[4, 8] = 4
    group: int = 32
    symmetric: bool = True
    method: Method = "rtn"
    activations: Activations = "none"

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise UsageError(f"weights of {self.bits} bits", remedy="4 or 8")
        if self.group not in GROUPS:
            raise UsageError(f"groups of {self.group} weights", remedy="32, 64 or 128; 0 is a scale a row")
        if self.method not in ("rtn", "hqq", "gptq", "awq"):
            raise UsageError(f"no method is called {self.method!r}", remedy="rtn, hqq, gptq or awq")
        if self.activations not in ("none", "dynamic", "static"):
            raise UsageError(f"activations {self.activations!r}", remedy="none, dynamic or static")

    def groups(self, width: int) -> int:
        """Scales of a row of `width` weights. Raises `UsageError` where the group does not divide it."""
        if self.group and width % self.group:
            remedy = "take a smaller group, or 8 bits with a scale a row (planning.fitting does)"
            raise UsageError(f"rows of {width} weights cannot be cut into groups of {self.group}", remedy=remedy)
        return width // self.group if self.group else 1

    def stored_bits(self, rows: int, width: int) -> int:
        """Bits of a (rows, width) matrix: its integers, its scales of 16 bits, and its zero points."""
        scales = rows * self.groups(width)
        return rows * width * self.bits + scales * (SCALE_BITS + (0 if self.symmetric else self.bits))

    def __str__(self) -> str:
        shown = f"int{self.bits} {f'g{self.group}' if self.group else 'per-channel'} {self.method}"
        shown += "" if self.symmetric else " asymmetric"
        return shown if self.activations == "none" else f"{shown} {self.activations} activations"


# weight name, as in named_parameters(), -> its scheme; None: it stays as it is. A tied weight is there once.
Plan: TypeAlias = Mapping[str, Scheme | None]


@dataclass(frozen=True, eq=False)
class Quantised:
    """A weight matrix (out, in) as integers: weight = (ints - zeros) * scales, each scale for `group` weights of a row.

    ints: int8 (out, in), of 4 bits -8..7. scales: float32 (out, groups), exact in float16 from 1.5e-5 to 65,504; those
    of 4 bits may be negative, as llama.cpp's are. zeros: int8 (out, groups) in the range of ints, or None. group 0: the row.
    """

    ints: Tensor
    scales: Tensor
    zeros: Tensor | None
    bits: int
    group: int

    def dequantised(self) -> Tensor:
        """float32 (out, in)."""
        rows, groups = self.scales.shape
        ints = self.ints.reshape(rows, groups, -1).float()
        if self.zeros is not None:
            ints = ints - self.zeros[:, :, None].float()
        return (ints * self.scales[:, :, None]).reshape(self.ints.shape)
