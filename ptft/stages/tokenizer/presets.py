"""How text is cut into pieces before BPE, which never merges across a cut.

The patterns are the published ones of GPT-2, cl100k_base and Qwen2 (which also composes Unicode; here text stays as it is). Their
`\\p{L}+` glues unspaced Chinese to the Latin word and the mark before it; `bilingual` keeps Han, kana and hangul apart, and follows
cl100k for the rest.

Merges are learnt from pieces of at most 16 such characters, or whole sentences become tokens (of 200 characters, where text has no
marks) and learning takes twelve times as long. The tokenizer that is kept has no such limit: 0.3 % fewer tokens of Chinese, a phrase
is cut alike wherever it stands, and llama.cpp, which knows no such limit, finds the same tokens (docs/log.md).
"""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["bilingual", "gpt2", "cl100k", "qwen"]
LEARNT_RUN = 16  # characters of Han, kana or hangul in a row that one token may hold
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
_PATTERNS = {  # DIGITS: a number, cut as the knob `digits` says; RUN: how many in a row
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?DIGITS| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS" + _TAIL,
    "qwen": _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS" + _TAIL,
    # hangul takes the space before it along: Korean is written with spaces
    "bilingual": _CONTRACTIONS + rf"[{_HAN_KANA}]RUN| ?{_HANGUL}RUN|"
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN_KANA}{_HANGUL}]]+|DIGITS" + _TAIL,
}
_OWN_DIGITS = {"gpt2": r"\p{N}+", "cl100k": r"\p{N}{1,3}", "qwen": r"\p{N}", "bilingual": r"\p{N}{1,3}"}


def pattern(preset: Preset, digits: int = 0, run: int = 0) -> str:
    """The regular expression (Oniguruma) whose matches are the pieces.

    digits: 0 as the preset, else at most so many together. run: of `bilingual`, the longest piece of Han, kana or hangul; 0: any.
    """
    number = _OWN_DIGITS[preset] if digits == 0 else _at_most(r"\p{N}", digits)
    return _PATTERNS[preset].replace("DIGITS", number).replace("RUN", f"{{1,{run}}}" if run else "+")


def _at_most(char: str, count: int) -> str:
    return rf"{char}{{1,{count}}}" if count > 1 else char


def cut(preset: Preset, digits: int = 0, run: int = 0) -> Any:
    """The pre-tokenizer of `pattern`, whose pieces are then spelt in bytes."""
    from tokenizers import Regex, pre_tokenizers

    pieces = pre_tokenizers.Split(Regex(pattern(preset, digits, run)), behavior="isolated")
    return pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def untrained(preset: Preset, digits: int = 0) -> Any:
    """A byte-level BPE `tokenizers.Tokenizer` with no merges yet, to learn them with. Once it has them, `cut` is how it cuts."""
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut(preset, digits, LEARNT_RUN)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
