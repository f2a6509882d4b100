"""How text is cut into pieces before BPE, which never merges across a cut.

The patterns are the published ones of GPT-2, cl100k_base and Qwen2. Their `\\p{L}+` glues unspaced Chinese to the Latin word
and the space before it, however long the run is; `bilingual` keeps Han, kana and hangul apart, in pieces of at most 16
characters, and follows cl100k for the rest.
"""

from __future__ import annotations

from typing import Any

SPECIAL = {
    "eos_token": "<|endoftext|>",
    "pad_token": "<|pad|>",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _TAIL,
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _TAIL,
    "bilingual": rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[{_CJK}]{{1,16}}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_CJK}]]+|\p{{N}}{{1,3}}|"
    + _TAIL,
}

# ChatML; the generation tags let `apply_chat_template` mark what the assistant says, its end-of-turn included
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def untrained(preset: str) -> Any:
    """A byte-level BPE `tokenizers.Tokenizer` with no merges yet."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(PATTERNS[preset]), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
