"""`ptft tokenizer`: a corpus to a byte-level BPE tokenizer in Hugging Face's format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import xxhash

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.files import write_json
from ptft.core.formats import read_rows
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog, Row, accepted, lacks
from ptft.core.sample import estimate_text
from ptft.core.text import language
from ptft.stages.tokenizer.presets import CHAT_TEMPLATE, CHAT_TOKENS, SPECIAL, untrained
from ptft.stages.tokenizer.recipe import TokenizerRecipe

SPACED_WORD = re.compile(r"\S+")
REPORT_ROWS = 20_000


def run(recipe: TokenizerRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from tokenizers import pre_tokenizers, trainers

    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    share = _sample_share(recipe, inputs, progress)
    tokenizer = untrained(recipe.preset)
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        special_tokens=[*SPECIAL.values(), *CHAT_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with progress.step("learning merges", unit="documents") as step:
        texts = _texts(recipe, inputs, log, share)
        tokenizer.train_from_iterator(_counted(texts, step), trainer)
    if tokenizer.get_vocab_size() < recipe.vocab_size:
        progress.warn(
            f"the text yields {tokenizer.get_vocab_size():,} tokens, fewer than --vocab-size {recipe.vocab_size:,}: "
            "no further pair occurs often enough"
        )
    _save(tokenizer, out)
    report = _report(recipe, inputs, tokenizer, progress)
    write_json(out.new / "report.json", report)
    counts = {"vocab_size": tokenizer.get_vocab_size(), "documents": log.rows - log.bad, "rows_rejected": log.bad}
    return Result(counts=counts, metrics=report)


def _counted(texts: Iterator[str], step: Any) -> Iterator[str]:
    for text in texts:
        step.advance()
        yield text


def _sample_share(recipe: TokenizerRecipe, inputs: Inputs, progress: Progress) -> float:
    guess = estimate_text(inputs.data, recipe.columns)
    if guess.bytes <= recipe.max_bytes:
        return 1.0
    share = recipe.max_bytes / guess.bytes
    progress.warn(
        f"about {guess.bytes / 1e9:.1f} GB of text: learning from an even sample of {share:.1%} (max_bytes), "
        "because more runs `tokenizers` out of memory and overflows its pair counts"
    )
    return share


def _texts(recipe: TokenizerRecipe, inputs: Inputs, log: RejectLog, share: float) -> Iterator[str]:
    for row in accepted(read_rows(inputs.data, columns=recipe.columns), log, ("text",)):
        if share == 1.0 or xxhash.xxh3_64_intdigest(f"{recipe.seed}:{row.data['id']}".encode()) < share * 2**64:
            yield row.data["text"][: recipe.max_characters]


def _save(tokenizer: Any, out: Output) -> None:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    special = {**SPECIAL, "mask_token": AddedToken(SPECIAL["mask_token"], lstrip=True, special=True)}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL["eos_token"],  # GPT-2's way: the text before begins the text after; never added on its own
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(CHAT_TOKENS),
        **special,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(out.new)


def _report(recipe: TokenizerRecipe, inputs: Inputs, tokenizer: Any, progress: Progress) -> dict[str, Any]:
    """Bytes per token, tokens per word (spaced languages), characters per token (Chinese), unused share, round trips."""
    total: Counter[str] = Counter()
    used: set[int] = set()
    with progress.step("measuring", unit="documents") as step:
        for row in read_rows(inputs.data, columns=recipe.columns):
            if not isinstance(row, Row) or lacks(row, ("text",)):
                continue  # counted and kept when it was learnt from
            text = row.data["text"][: recipe.max_characters]
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            used.update(ids)
            total += _measure(text, ids, tokenizer)
            step.advance()
            if total["documents"] >= REPORT_ROWS:
                break
    return {
        "bytes_per_token": total["bytes"] / max(total["tokens"], 1),
        "tokens_per_word": total["spaced_tokens"] / total["words"] if total["words"] else None,
        "characters_per_token_zh": total["zh_characters"] / total["zh_tokens"] if total["zh_tokens"] else None,
        "unused_share": 1 - len(used) / tokenizer.get_vocab_size(),
        "round_trip_failures": total["failures"],
        "documents_measured": total["documents"],
    }


def _measure(text: str, ids: list[int], tokenizer: Any) -> Counter[str]:
    failed = tokenizer.decode(ids, skip_special_tokens=False) != text
    found = Counter(documents=1, bytes=len(text.encode()), tokens=len(ids), failures=int(failed))
    if language(text) == "zh":
        found.update(zh_characters=len(text), zh_tokens=len(ids))
    else:
        found.update(words=len(SPACED_WORD.findall(text)), spaced_tokens=len(ids))
    return found


def plan(recipe: TokenizerRecipe, inputs: Inputs, progress: Progress) -> Plan:
    guess = estimate_text(inputs.data, recipe.columns)
    return Plan(
        (
            ("files", len(inputs.data)),
            ("documents (estimate)", guess.rows),
            ("text bytes (estimate)", guess.bytes),
            ("bytes learnt from", min(guess.bytes, recipe.max_bytes)),
            ("vocabulary", recipe.vocab_size),
            ("preset", recipe.preset),
        )
    )
