"""The knobs of `ptft tokenizer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import TOKENIZER, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe(Recipe):
    vocab_size: int = knob(32_768, "tokens in the vocabulary, special ones included", flag="--vocab-size", low=300)
    preset: Literal["bilingual", "gpt2", "cl100k", "qwen"] = knob(
        "bilingual", "how text is cut before BPE: bilingual, gpt2, cl100k, qwen", flag="--preset"
    )
    min_frequency: int = knob(2, "a merge must occur this often", low=1)
    max_bytes: int = knob(
        2_000_000_000,
        "text to learn from; a larger corpus is sampled evenly (more overflows the pair counts of `tokenizers`)",
        low=1000,
    )
    max_characters: int = knob(10_000, "characters of one document to learn from", low=1)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")


STAGE = Stage(
    name="tokenizer",
    help="A corpus to a byte-level BPE tokenizer. The output is a Hugging Face folder.",
    recipe=TokenizerRecipe,
    module="ptft.stages.tokenizer.run",
    arguments=(Argument("data", "INPUT...", "a corpus: files, folders, globs, '-' or hf:NAME", "rows"),),
    makes=TOKENIZER,
)
