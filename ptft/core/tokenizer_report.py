"""What a tokenizer does to text, for people: tokens made readable, figures by language, tables. For `tokenizer` and `show`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import orjson

from ptft.core.progress import Table, table_of

UNSPACED = frozenset(("zh", "ja", "th", "lo", "my", "km", "bo"))  # written without spaces between words
_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "|": "¦"})


# ---------------------------------------------------------------- figures


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over texts of one language. bytes: UTF-8. words: between white space. characters: white space left out."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    words: int = 0
    characters: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def tally(text: str, tokens: int) -> Tally:
    words = text.split()
    return Tally(1, len(text.encode()), tokens, len(words), sum(map(len, words)))


def figures(sums: Tally, language: str) -> dict[str, Any]:
    """The sums, bytes per token, tokens per character, and tokens per word of a language with spaces (None of others)."""
    spaced = language not in UNSPACED and sums.words
    return {
        **asdict(sums),
        "bytes_per_token": sums.bytes / max(sums.tokens, 1),
        "tokens_per_word": sums.tokens / sums.words if spaced else None,
        "tokens_per_character": sums.tokens / sums.characters if sums.characters else None,
    }


# ---------------------------------------------------------------- tokens made readable


@functools.lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """GPT-2's byte alphabet, inverted: printable bytes stand for themselves, the others for the characters from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {**{chr(byte): byte for byte in own}, **{chr(256 + n): byte for n, byte in enumerate(others)}}


def is_byte_level(tokenizer: Any) -> bool:
    """Whether the tokens of a `tokenizers.Tokenizer` are bytes in GPT-2's alphabet."""
    decoder = orjson.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else {}
    return "ByteLevel" in {decoder.get("type"), *(part.get("type") for part in decoder.get("decoders", ()))}


def raw_token(token: str, byte_level: bool) -> bytes:
    """The bytes of text that a token of the vocabulary stands for; "▁" is a space and "##" no text, as others write them."""
    if byte_level and all(char in _byte_of() for char in token):
        return bytes(_byte_of()[char] for char in token)
    return token.removeprefix("##").replace("▁", " ").encode()


def shown_token(raw: bytes) -> str:
    """A token for people: white space visible, parts of a character in hexadecimal."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "⟨" + raw.hex(" ") + "⟩"
    return "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text.translate(_VISIBLE))


def cut(tokenizer: Any, text: str) -> str:
    """A text with a bar between its tokens."""
    byte_level = is_byte_level(tokenizer)
    tokens = tokenizer.encode(text, add_special_tokens=False).tokens
    return "|".join(shown_token(raw_token(token, byte_level)) for token in tokens)


# ---------------------------------------------------------------- tables


def language_table(by_language: Mapping[str, Mapping[str, Any]]) -> Table:
    head = (
        "language", "documents", "bytes", "share", "share learnt from", "tokens", "bytes per token",
        "tokens per word", "tokens per character",
    )  # fmt: skip
    learnt, whole = _sum(by_language, "bytes_learnt"), _sum(by_language, "bytes")
    rows = [
        (
            name, one["documents"], one["bytes"], f"{one['bytes'] / whole:.1%}", f"{one['bytes_learnt'] / learnt:.1%}",
            one["tokens"], *(_short(one[key]) for key in ("bytes_per_token", "tokens_per_word", "tokens_per_character")),
        )
        for name, one in by_language.items()
    ]  # fmt: skip
    return table_of("by language", head, rows)


def _sum(by_language: Mapping[str, Mapping[str, Any]], key: str) -> int:
    return max(1, sum(one[key] for one in by_language.values()))


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """What report.json of `ptft tokenizer` says, as tables: languages, tokens, failures, examples."""
    tables = [language_table(report["by_language"])] if report["by_language"] else []
    kinds = (
        ("longest", list(report["longest"])),
        ("most frequent", [f"{token} {count:,}" for token, count in report["most_frequent"]]),
        ("rarest", [f"{token} {count:,}" for token, count in report["rarest"]]),
    )
    tables.append(table_of("tokens", ("", ""), [(name, "   ".join(tokens)) for name, tokens in kinds if tokens]))
    if report["round_trip_failed"]:
        tables.append(
            table_of("round trip failed", ("file", "line"), [_place(one) for one in report["round_trip_failed"]])
        )
    return [*tables, *cut_tables({"": [(one["language"], one["cut"]) for one in report["examples"]]})]


def _place(failed: Mapping[str, Any]) -> tuple[str, str]:
    return failed["file"], str(failed["line"] or "-")


def cut_tables(groups: Mapping[str, Sequence[tuple[str, str]]]) -> list[Table]:
    """Texts cut into tokens: a table a group, a row for each name."""
    return [table_of(title or "cut into tokens", ("", ""), rows) for title, rows in groups.items() if rows]
