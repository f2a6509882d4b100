"""`ptft show TOKENIZER...`: what tokenizers are, and what each does to the same text, side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ptft.core import record
from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.formats import read_rows
from ptft.core.progress import Table, table_of
from ptft.core.rows import Row, lacks
from ptft.core.text import language
from ptft.core.tokenizer_report import Tally, cut, cut_tables, figures, is_byte_level, raw_token, report_tables, tally
from ptft.stages.show.sample_text import SAMPLE, SENTENCES

MOST_ROWS = 2000  # of a file that tokenizers are compared on
NAMES = {"en": "English", "zh": "Chinese", "": "all"}
SHOWN = (("bytes_per_token", "bytes per token"), ("tokens_per_word", "tokens per word"),
         ("tokens_per_character", "tokens per character"))  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One tokenizer. cuts: how it cuts the sample sentences. surface: the texts its ordinary tokens stand for."""

    name: str
    facts: dict[str, Any]
    surface: frozenset[bytes]
    cuts: tuple[str, ...]


def one(folder: Path) -> list[Table]:
    """The report that `ptft tokenizer` wrote; of a tokenizer from elsewhere what it is, and the built-in sample."""
    report = folder / "report.json"
    try:
        if record.made(folder) is not None:
            return report_tables(orjson.loads(report.read_bytes()))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass  # not ours, or of an older ptft: looked at as any other
    return compared([folder])[0]


def compared(folders: Sequence[Path], texts: Mapping[str, Sequence[str]] = SAMPLE) -> tuple[list[Table], list[Any]]:
    """texts: by language, what is encoded. Tables: a column a tokenizer; how each cuts a sentence. Facts: the same for machines."""
    seen = [_seen(folder, texts) for folder in folders]
    for other in seen[1:]:
        other.facts["tokens_shared_with_first"] = len(other.surface & seen[0].surface)
    names = list(dict.fromkeys(name for each in seen for name in each.facts))
    rows = [(name.replace("_", " "), *(each.facts.get(name) for each in seen)) for name in names]
    head = ("", *(each.name for each in seen)) if len(seen) > 1 else ("", "")
    groups = {sentence: [(each.name, each.cuts[number]) for each in seen] for number, sentence in enumerate(SENTENCES)}
    return [table_of("tokenizers", head, rows), *cut_tables(groups)], [each.facts for each in seen]


def texts_of(path: str) -> dict[str, list[str]]:
    """The first texts of a file or folder, by language. Raises `InputError` where there are none."""
    rows = (row for row in read_rows(expand([path])) if isinstance(row, Row) and not lacks(row, ("text",)))
    found: dict[str, list[str]] = defaultdict(list)
    for row in islice(rows, MOST_ROWS):
        found[language(row.data["text"])].append(row.data["text"])
    if not found:
        remedy = "name a file with a field 'text', or a .txt file"
        raise InputError("no row has a text to compare tokenizers on", where=path, remedy=remedy)
    return dict(found)


def _seen(folder: Path, texts: Mapping[str, Sequence[str]]) -> Seen:
    tokenizer, config = _load(folder)
    tokenizer.encode_special_tokens = True  # the sample is text
    facts = {**_kind(folder, tokenizer), **_names(folder, config), **_measured(tokenizer, texts)}
    special, byte_level = tokenizer.get_added_tokens_decoder(), is_byte_level(tokenizer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    surface = frozenset(raw_token(token, byte_level) for token, ident in vocabulary.items() if ident not in special)
    return Seen(str(folder), facts, surface, tuple(cut(tokenizer, sentence) for sentence in SENTENCES))


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The folder's `tokenizers.Tokenizer` and its tokenizer_config.json; older formats are converted by transformers."""
    from tokenizers import Tokenizer

    config = folder / "tokenizer_config.json"
    try:
        settings = orjson.loads(config.read_bytes()) if config.exists() else {}
        if (folder / "tokenizer.json").exists():
            return Tokenizer.from_file(str(folder / "tokenizer.json")), settings
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer, settings
    except Exception as error:  # `tokenizers` raises bare Exception
        remedy = "it needs a tokenizer.json that `tokenizers` can read, or files that AutoTokenizer can"
        raise InputError(
            f"the tokenizer cannot be loaded: {str(error).splitlines()[0]}", where=str(folder), remedy=remedy
        ) from error


def _kind(folder: Path, tokenizer: Any) -> dict[str, Any]:
    special = tokenizer.get_added_tokens_decoder()
    recipe = made_by.recipe if (made_by := record.made(folder)) and made_by.stage == "tokenizer" else {}
    cutting = orjson.loads(tokenizer.pre_tokenizer.__getstate__()) if tokenizer.pre_tokenizer else {}
    parts = [part["type"] for part in cutting.get("pretokenizers", [cutting] if cutting else [])]
    return {
        "vocabulary": tokenizer.get_vocab_size(with_added_tokens=True),
        "special_and_added": len(special),
        "model": type(tokenizer.model).__name__,
        "cuts_text_by": recipe.get("preset") or " + ".join(parts) or "nothing",
        "normalizer": type(tokenizer.normalizer).__name__ if tokenizer.normalizer else None,
    }


def _names(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    named = {key: config.get(key) for key in ("bos_token", "eos_token", "pad_token", "mask_token")}
    template = (folder / "chat_template.jinja").exists() or bool(config.get("chat_template"))
    return {
        **{key: value["content"] if isinstance(value, dict) else value for key, value in named.items()},
        "chat_template": template,
    }


def _measured(tokenizer: Any, texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Figures by language, as flat facts, and whether the texts come back as they were."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unk = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    found: dict[str, Any] = {}
    back, unknown = True, 0
    for code, samples in texts.items():
        ids = [encoded.ids for encoded in tokenizer.encode_batch_fast(list(samples), add_special_tokens=False)]
        unknown += sum(tokens.count(unk) for tokens in ids)
        back &= tokenizer.decode_batch(ids, skip_special_tokens=False) == list(samples)
        sums = sum((tally(text, len(tokens)) for text, tokens in zip(samples, ids, strict=True)), Tally())
        of = figures(sums, code)
        found |= {f"{shown}, {NAMES.get(code, code)}": of[key] for key, shown in SHOWN if of[key] is not None}
    return {**found, "unknown tokens in the sample": unknown, "sample_comes_back_whole": back}
