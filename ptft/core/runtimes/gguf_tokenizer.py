"""The tokenizer that a GGUF file holds, as transformers reads it; of how text is split first, what that leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptft.core.contracts import TOKENIZER

# what a file may call its splitting (tokenizer.ggml.pre)
_AS_GPT2 = ("gpt-2", "default", "")
_SINGLE_DIGITS = ("smollm",)
_WHOLE_WORDS = ("llama3", "llama-v3", "llama-bpe")  # a word that is a token is taken whole, whatever the merges say


def load(path: Path, model: str, splitting: str, beside: bool) -> tuple[Any, str]:
    """The tokenizer, and what must be said of it. beside: tokenizer files in the folder come first, since they hold all of it.

    model, splitting: what the file says under tokenizer.ggml.model and .pre.
    """
    from transformers import AutoTokenizer

    if beside and not TOKENIZER.missing(path.parent):
        return AutoTokenizer.from_pretrained(path.parent, trust_remote_code=False), ""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return tokenizer, _set_splitting(tokenizer.backend_tokenizer, splitting) if model == "gpt2" else ""


def _set_splitting(backend: Any, splitting: str) -> str:
    """Give a byte-level tokenizer what transformers leaves out of its splitting; a note where that is not known."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    if splitting in _WHOLE_WORDS:
        backend.model.ignore_merges = True
    if splitting in _SINGLE_DIGITS:
        backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    elif splitting not in _AS_GPT2 and isinstance(backend.pre_tokenizer, ByteLevel):
        return f"text is split as for GPT-2: the file's own way ({splitting}) is not known, tokens may differ"
    return ""
