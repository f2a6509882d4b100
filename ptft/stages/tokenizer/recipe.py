"""The knobs of `ptft tokenizer`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import TOKENIZER, Argument, Stage
from ptft.core.recipes import Recipe, knob

# marks around letters: every preset cuts such a text in two or more, so that no merge can make a special token of it
SPECIAL_FORM = re.compile(r"<\|[A-Za-z0-9]\w*\|>|<[A-Za-z0-9]\w*>|\[[A-Za-z0-9]\w*\]", re.ASCII)
BYTES, NAMED = 256, 8  # the smallest vocabulary: every byte, and the special tokens of the widest format


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe(Recipe):
    vocab_size: int = knob(
        32_768, "tokens in the vocabulary, special and reserved ones included", flag="--vocab-size", low=300, high=2**31
    )
    preset: Literal["bilingual", "gpt2", "cl100k", "qwen"] = knob(
        "bilingual", "how text is cut before BPE: bilingual, gpt2, cl100k, qwen", flag="--preset"
    )
    digits: int = knob(0, "digits of a number that stay together: 1, 2, 3; 0 as the preset has it", low=0, high=3)
    min_frequency: int = knob(2, "a merge must occur this often", low=1)
    reserved: int = knob(16, "spare special tokens, <|reserved_0|> and on, for later use", low=0, high=10_000)
    pad_to: int = knob(128, "the vocabulary is a multiple of this, which matrix kernels like", low=1, high=65_536)
    special_tokens: tuple[str, ...] = knob((), "further special tokens, as <|name|>, <name> or [NAME]")
    chat: Literal["chatml", "llama3", "zephyr", "plain"] = knob(
        "chatml", "the chat template: chatml, llama3, zephyr, plain"
    )
    chat_template: str | None = knob(
        None, "a file with a chat template instead: Jinja, with {% generation %}", path="file"
    )
    max_bytes: int = knob(
        2_000_000_000,
        "text to learn from; a larger corpus is sampled by document, evenly (from 2.1 billion on, pair counts can overflow)",
        low=1000,
    )
    max_characters: int = knob(10_000, "characters of one document to learn from", low=1)
    measure: Literal["all", "learnt"] = knob(
        "all", "rows the report measures and the round trip is tried on: all, or those learnt from"
    )
    workers: int = knob(0, "processes that measure (0: one a core)", flag="--workers", low=0, identity=False)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        strange = [token for token in self.special_tokens if not SPECIAL_FORM.fullmatch(token)]
        found = [f"special_tokens: {token!r} must have the form <|name|>, <name> or [NAME]" for token in strange]
        least = BYTES + NAMED + self.reserved + len(self.special_tokens)
        if self.vocab_size < least:
            found.append(f"vocab_size = {self.vocab_size}: the bytes and the special tokens alone take {least}")
        return found


STAGE = Stage(
    name="tokenizer",
    help="A corpus to a byte-level BPE tokenizer. The output is a Hugging Face folder.",
    recipe=TokenizerRecipe,
    module="ptft.stages.tokenizer.run",
    arguments=(Argument("data", "INPUT...", "a corpus: files, folders, globs, '-' or hf:NAME", "rows"),),
    makes=TOKENIZER,
)
