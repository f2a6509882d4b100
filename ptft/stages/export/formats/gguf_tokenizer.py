"""A byte-level BPE tokenizer inside a GGUF file: tokens, types, merges, special tokens, chat template, and how text is cut.

llama.cpp knows a fixed list of ways to cut text before BPE, by name (`tokenizer.ggml.pre`; `src/llama-vocab.cpp`). A tokenizer is
looked up by the patterns of its `tokenizer.json`; one that cuts otherwise gets the nearest name and a note of what differs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ptft.core.errors import InputError
from ptft.core.models import Loaded, is_byte_level

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType

_DIGIT = r"\p{N}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?DIGITS| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# our own preset, which keeps Han and kana apart, and hangul. Its merges give the same tokens under cl100k's coarser cut (docs/log.md)
_HAN_KANA = r"\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}\x{FF70}\x{3006}"
_BILINGUAL = _CL100K.replace(
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    rf"[{_HAN_KANA}]+| ?\p{{Hangul}}+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN_KANA}\p{{Hangul}}]]+",
)
_DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_WORDS = _GPT2.replace("DIGITS", r"\p{N}+")
_THREE, _ONE, _OUR_THREE, _OUR_ONE = (
    like.replace("DIGITS", number) for like in (_CL100K, _BILINGUAL) for number in (r"\p{N}{1,3}", _DIGIT)
)
# patterns in turn, and whether a word that is a token is taken whole -> llama.cpp's name
_NAMES = {
    ((_WORDS,), False): "gpt-2",
    ((_DIGIT, _WORDS), False): "smollm",
    ((_THREE,), False): "dbrx",
    ((_THREE,), True): "llama-bpe",
    ((_ONE,), False): "qwen2",
    ((_OUR_THREE,), False): "dbrx",
    ((_OUR_ONE,), False): "qwen2",
    (_DEEPSEEK, False): "deepseek-v3",
}
_NUMBER = re.compile(r"\\p\{N\}(?:\+|\{1,\d\})?(?=\|)")
_LIMIT = re.compile(r"(?<=\]|\})\{1,(\d+)\}(?=\|)")  # of runs, which our own preset had once


@dataclass(frozen=True)
class Splitting:
    """name: for tokenizer.ggml.pre. note: what llama.cpp does otherwise; "" where its tokens are the same."""

    name: str
    note: str = ""


def refuse(loaded: Loaded) -> None:
    """Raise `InputError` for a tokenizer that is not byte-level BPE, and one with more tokens than the model."""
    _merges(loaded.tokenizer, str(loaded.folder))
    tokens, rows = max(_named(loaded.tokenizer)) + 1, int(loaded.model.config.vocab_size)
    if tokens > rows:
        what = f"the tokenizer has {tokens:,} tokens, the model {rows:,}"
        raise InputError(what, where=str(loaded.folder), remedy="export a model with the tokenizer it was trained with")


def add(writer: Any, loaded: Loaded) -> None:
    """Raises as `refuse`."""
    refuse(loaded)
    tokenizer, rows = loaded.tokenizer, int(loaded.model.config.vocab_size)
    named = _named(tokenizer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting(tokenizer).name)
    writer.add_token_list(_tokens(named, rows))
    writer.add_token_types(_types(tokenizer, named, rows))
    writer.add_token_merges(_merges(tokenizer, str(loaded.folder)))
    _add_special(writer, loaded)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(without_generation_tags(tokenizer.chat_template))


def _merges(tokenizer: Any, where: str) -> list[str]:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"] if tokenizer.is_fast else {}
    if model.get("type") != "BPE" or not is_byte_level(tokenizer):
        what = f"its tokenizer ({model.get('type', 'not a fast one')}) is not byte-level BPE"
        remedy = "export it to another format (--format onnx or torchao), or convert it with llama.cpp's own script"
        raise InputError(f"GGUF files are written with byte-level BPE tokenizers: {what}", where=where, remedy=remedy)
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _named(tokenizer: Any) -> dict[int, str]:
    return {index: token for token, index in tokenizer.get_vocab().items()}


def _tokens(named: dict[int, str], rows: int) -> list[str]:
    """By id, one a row of the embeddings; a row that no token has gets a name of its own, which no token has either."""
    known = set(named.values())
    free = (name for name in map("[unused{}]".format, itertools.count()) if name not in known)
    return [named.get(index) or next(free) for index in range(rows)]


def _types(tokenizer: Any, named: dict[int, str], rows: int) -> list[int]:
    kinds = {
        index: CONTROL if token.special else USER_DEFINED for index, token in tokenizer.added_tokens_decoder.items()
    }
    return [kinds.get(index, NORMAL if index in named else UNUSED) for index in range(rows)]


def _add_special(writer: Any, loaded: Loaded) -> None:
    """llama.cpp takes id 11 for a beginning or an end that is not named, so both are."""
    tokenizer = loaded.tokenizer
    ends = _ends(loaded)
    found = {
        "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "unk": tokenizer.unk_token_id,
        "sep": tokenizer.sep_token_id, "pad": tokenizer.pad_token_id, "mask": tokenizer.mask_token_id,
    }  # fmt: skip
    if found["eos"] is None:
        found["eos"] = ends[0] if ends else None
    if found["bos"] is None:
        found["bos"] = found["eos"]
    found["eot"] = next((index for index in ends if index != found["eos"]), None)
    for name, index in found.items():
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    before, after = _added(tokenizer)
    writer.add_add_bos_token(before)
    writer.add_add_eos_token(after)


def _ends(loaded: Loaded) -> list[int]:
    """Tokens that end an answer, by the generation configuration."""
    found = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    return [found] if isinstance(found, int) else list(found or ())


def _added(tokenizer: Any) -> tuple[bool, bool]:
    """Whether the tokenizer puts its beginning and its end around a text on its own."""
    ids = tokenizer("a")["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    return ids[0] != plain[0], ids[-1] != plain[-1]


def without_generation_tags(template: str) -> str:
    """transformers' `{% generation %}` as a condition that always holds: other readers of Jinja do not know the tag."""
    opened = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", opened)


# ---------------------------------------------------------------- how text is cut


def splitting(tokenizer: Any) -> Splitting:
    """llama.cpp's name of how this byte-level tokenizer cuts text; where it has none, the nearest."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    patterns = tuple(_patterns(raw.get("pre_tokenizer")))
    name = _NAMES.get((patterns, bool(raw["model"].get("ignore_merges"))))
    found = _nearest(patterns[0] if len(patterns) == 1 else "") if name is None else Splitting(name)
    normalizer = (raw.get("normalizer") or {}).get("type")
    if normalizer:
        return Splitting(
            found.name, "; ".join(filter(None, (f"text is not normalised first ({normalizer})", found.note)))
        )
    return found


def _nearest(pattern: str) -> Splitting:
    """A coarser cut gives the same tokens wherever no merge crosses what it leaves out: Han beside Latin, digits one by one."""
    numbered, single = _NUMBER.sub("DIGITS", pattern), r"\p{N}|" in pattern
    like, limit = _LIMIT.sub("+", numbered), _LIMIT.search(numbered)
    name = "gpt-2" if like == _GPT2 else "qwen2" if single else "dbrx"
    if like not in (_GPT2, _CL100K, _BILINGUAL):
        return Splitting(name, "its way of cutting text is not known there: tokens may differ")
    found = [f"llama.cpp cuts runs of more than {limit[1]} Han or kana characters into other tokens"] if limit else []
    if not single and (name == "gpt-2" or r"\p{N}{1,3}|" not in pattern):
        found.append("llama.cpp cuts numbers of several digits into other tokens")
    return Splitting(name, "; ".join(found))


def _patterns(step: Any) -> Iterator[str]:
    """The regular expressions of a pre-tokenizer that cut text one after the other; "" for a step that is none."""
    kind = (step or {}).get("type")
    if kind == "Sequence":
        for part in step["pretokenizers"]:
            yield from _patterns(part)
    elif kind == "Digits" and step["individual_digits"]:
        yield _DIGIT
    elif kind == "ByteLevel" and not step["add_prefix_space"]:
        yield from [_WORDS] if step["use_regex"] else []
    elif kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        yield step["pattern"].get("Regex", "")
    else:
        yield ""
