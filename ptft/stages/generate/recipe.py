"""The knobs of `ptft generate`."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.core.contracts import CHECKPOINT, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class GenerateRecipe(Recipe):
    max_new_tokens: int = knob(128, "most tokens to generate", flag="--max-new-tokens", low=1)
    temperature: float = knob(0.8, "0 picks the likeliest token", flag="--temperature", low=0)
    top_p: float = knob(
        0.95, "sample from the likeliest tokens with this share of the probability", flag="--top-p", above=0, high=1
    )
    repetition_penalty: float = knob(1.1, "above 1 discourages repeating", low=1)
    chat: bool = knob(False, "the prompt is a user's message: use the chat template", flag="--chat")


STAGE = Stage(
    name="generate",
    help="Text from a model, on standard output.",
    recipe=GenerateRecipe,
    module="ptft.stages.generate.run",
    arguments=(
        Argument("model", "MODEL", "a checkpoint or export folder, or a .gguf file", "folder"),
        Argument("prompt", "[PROMPT]", "text to go on from (or on standard input)", "folder", optional=True),
    ),
    makes=CHECKPOINT,
)
