"""How text is cut into pieces before BPE, which never merges across a cut.

The patterns are the published ones of GPT-2, cl100k_base and Qwen2 (which also composes Unicode; here text stays as it is). Their
`\\p{L}+` glues unspaced Chinese to the Latin word and the mark before it, however long the run is; `bilingual` keeps Han, kana and
hangul apart, in pieces of at most 16 characters, and follows cl100k for the rest.
"""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["bilingual", "gpt2", "cl100k", "qwen"]
SPECIAL = {
    "eos_token": "<|endoftext|>",
    "pad_token": "<|pad|>",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

_HANGUL = r"\p{Hangul}"
# the long-vowel marks and the closing mark belong to no single script, and 々 and 〇 to Han already
_HAN_KANA = r"\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}\x{FF70}\x{3006}"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = {  # DIGITS: a number, cut as the knob `digits` says
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?DIGITS| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS" + _TAIL,
    "qwen": _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS" + _TAIL,
    # hangul takes the space before it along: Korean is written with spaces
    "bilingual": _CONTRACTIONS + rf"[{_HAN_KANA}]{{1,16}}| ?{_HANGUL}{{1,16}}|"
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN_KANA}{_HANGUL}]]+|DIGITS" + _TAIL,
}
_OWN_DIGITS = {"gpt2": r"\p{N}+", "cl100k": r"\p{N}{1,3}", "qwen": r"\p{N}", "bilingual": r"\p{N}{1,3}"}


def pattern(preset: Preset, digits: int = 0) -> str:
    """The regular expression (Oniguruma) whose matches are the pieces. digits: 0 as the preset, else at most so many together."""
    number = _OWN_DIGITS[preset] if digits == 0 else rf"\p{{N}}{{1,{digits}}}" if digits > 1 else r"\p{N}"
    return _PATTERNS[preset].replace("DIGITS", number)


def untrained(preset: Preset, digits: int = 0) -> Any:
    """A byte-level BPE `tokenizers.Tokenizer` with no merges yet."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(pattern(preset, digits)), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
