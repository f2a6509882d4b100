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


@dataclass(frozen=True)
class Decoding:
    """How a model's next tokens are chosen. Greedy unless beams or a temperature are asked for."""

    max_new_tokens: int = knob(64, "most tokens of an answer", flag="--max-new-tokens", low=1)
    beams: int = knob(1, "beams of a beam search (1: none)", low=1)
    temperature: float = knob(
        0.0, "0 picks the likeliest token; above, tokens are sampled", flag="--temperature", low=0
    )
    top_k: int = knob(0, "sample from so many of the likeliest tokens (0: from all)", low=0)
    top_p: float = knob(
        1.0, "sample from the likeliest tokens with this share of the probability", flag="--top-p", above=0, high=1
    )
    stop: tuple[str, ...] = knob((), "texts that end an answer, and are not part of it")

    def problems(self) -> list[str]:
        """What is wrong between knobs that are each right alone."""
        if self.beams > 1 and self.temperature:
            return ["decoding: beams and a temperature exclude each other; leave one at its default"]
        return [] if all(self.stop) else ["decoding.stop: an empty text ends every answer"]
