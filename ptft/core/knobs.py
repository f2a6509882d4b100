"""Groups of knobs that several stages share. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.recipes import knob


@dataclass(frozen=True)
class Hardware:
    """What changes speed and memory, not what is learnt: an interrupted run may go on with other values."""

    micro_batch: int = knob(0, "sequences a forward pass (0: what suits the device)", low=0, identity=False)
    checkpointing: bool = knob(False, "recompute activations instead of keeping them", identity=False)
    compile: bool = knob(False, "torch.compile", identity=False)
    loss: Literal["chunked", "plain"] = knob(
        "chunked", "chunked: never hold all logits; plain: the model's own forward pass", identity=False
    )
    liger: bool = knob(False, "Liger's fused kernels (a GPU, and pip install liger-kernel)", identity=False)
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex_attention"] = knob(
        "auto", "how attention is computed", identity=False
    )
    parallel: Literal["ddp", "fsdp"] = knob(
        "ddp", "of several processes, each holds the whole model (ddp) or its share (fsdp)", identity=False
    )
