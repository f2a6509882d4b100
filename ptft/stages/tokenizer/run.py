"""`ptft tokenizer`: a corpus to a byte-level BPE tokenizer in Hugging Face's format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ptft.core.chat_templates import FORMATS, ChatFormat, from_file
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.files import write_json
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog
from ptft.core.sample import TextEstimate, estimate_text
from ptft.core.tokenizer_report import report_tables
from ptft.core.workers import cores
from ptft.stages.tokenizer import memory, sampling
from ptft.stages.tokenizer.learn import learnt, try_template, wanted_size, wrapped
from ptft.stages.tokenizer.presets import untrained
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.report import report

WORTH_A_LOOK = 50_000_000  # bytes: below, memory is no question
LISTS = ("longest", "most_frequent", "rarest", "round_trip_failed", "examples")


def run(recipe: TokenizerRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    chat = _chat(recipe, inputs, progress)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    sample = sampling.choose(recipe, inputs, progress)
    _warn_of(recipe, inputs, sample, progress)
    with progress.step("learning merges", unit="documents") as step:
        texts = _counted(sampling.batches(recipe, inputs, log, sample), step)
        tokenizer = learnt(recipe, chat, texts, progress)
    wrapped(tokenizer, chat).save_pretrained(out.new)
    found = report(recipe, inputs, sample, out.new, progress)
    write_json(out.new / "report.json", found)
    for table in report_tables(found):
        progress.table(table)
    if found["round_trip_failures"]:
        progress.warn(f"{found['round_trip_failures']:,} rows do not come back as they were: see report.json")
    counts = {"vocab_size": tokenizer.get_vocab_size(), "documents": log.rows - log.bad, "rows_rejected": log.bad}
    return Result(counts=counts, metrics={key: value for key, value in found.items() if key not in LISTS})


def _chat(recipe: TokenizerRecipe, inputs: Inputs, progress: Progress) -> ChatFormat:
    """The chat format, tried first: a wrong template must not cost a day of learning."""
    path = inputs.folders.get("chat_template")
    if path is None:
        return FORMATS[recipe.chat]
    chat = from_file(path)
    for doubt in try_template(recipe, chat, str(path)):
        progress.warn(doubt)
    return chat


def _counted(batches: Iterator[list[str]], step: Any) -> Iterator[list[str]]:
    for batch in batches:
        step.advance(len(batch))
        yield batch


def _warn_of(recipe: TokenizerRecipe, inputs: Inputs, sample: sampling.Sample, progress: Progress) -> None:
    if sample.share < 1:
        progress.warn(
            f"learning from an even sample of the documents: {sample.share:.1%} of the text, {sample.bytes:,} bytes "
            "(max_bytes); the report measures " + ("every row" if recipe.measure == "all" else "these")
        )
    if sample.bytes > WORTH_A_LOOK:
        guess = _expected(recipe, estimate_text(inputs.data, recipe.columns), sample.bytes)
        memory.warn(progress, guess, sample.bytes, memory.available())


def _expected(recipe: TokenizerRecipe, look: TextEstimate, size: int) -> memory.Expected:
    texts = [sampling.clipped(text, recipe) for text in look.texts]
    return memory.expected(untrained(recipe.preset, recipe.digits), texts, size)


def plan(recipe: TokenizerRecipe, inputs: Inputs, progress: Progress) -> Plan:
    _chat(recipe, inputs, progress)
    look = estimate_text(inputs.data, recipe.columns)
    size = min(_clipped_bytes(recipe, look), recipe.max_bytes)
    guess = _expected(recipe, look, size)
    memory.warn(progress, guess, size, memory.available())
    measured = look.bytes if recipe.measure == "all" else size
    return Plan(
        (
            ("files", len(inputs.data)),
            ("documents (estimate)", look.rows),
            ("text bytes (estimate)", look.bytes),
            ("bytes learnt from (estimate)", size),
            ("memory, MB (estimate)", round(guess.memory / 1e6)),
            ("most frequent pair of bytes (estimate)", guess.pair_count),
            ("seconds to learn (estimate)", round(1.5 * guess.seconds)),
            ("seconds to measure (estimate)", _seconds_to_measure(recipe, guess, measured / max(size, 1))),
            ("vocabulary", wanted_size(recipe)),
            ("preset", recipe.preset),
            ("chat template", str(inputs.folders.get("chat_template", recipe.chat))),
        )
    )


def _clipped_bytes(recipe: TokenizerRecipe, look: TextEstimate) -> int:
    whole = sum(len(text.encode()) for text in look.texts)
    kept = sum(len(sampling.clipped(text, recipe).encode()) for text in look.texts)
    return look.bytes * kept // max(whole, 1)


def _seconds_to_measure(recipe: TokenizerRecipe, guess: memory.Expected, times: float) -> int:
    return round(1.5 * guess.seconds * times / (recipe.workers or cores()))
