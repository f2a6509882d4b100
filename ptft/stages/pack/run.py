"""`ptft pack`: a corpus to memory-mapped tokens."""

from __future__ import annotations

import shutil

from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import UsageError
from ptft.core.packing import JOURNAL, PackOptions, TokensMeta, fast_tokenizer, pack_corpus
from ptft.core.progress import Progress
from ptft.core.rows import RejectLog
from ptft.core.sample import estimate_text
from ptft.stages.pack.recipe import PackRecipe


def run(recipe: PackRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    _refuse_packed(inputs)
    options = PackOptions(
        recipe.seq_len, recipe.val, recipe.seed, recipe.shard_tokens, recipe.block_rows, dict(recipe.columns)
    )
    log = RejectLog(out.state / "rejected.jsonl", recipe.max_bad_rows)
    meta = pack_corpus(inputs.data, inputs.folders["tokenizer"], out.state / "tokens", options, log, progress)
    for path in [*(out.state / "tokens").iterdir(), log.path]:
        if path.exists() and path.name != JOURNAL:
            shutil.move(path, out.new / path.name)
    if meta.total("train", "tokens") < recipe.seq_len:
        progress.warn(f"fewer training tokens than one sequence of {recipe.seq_len}; lower --seq-len")
    return Result(counts={**_counts(meta), "rows_rejected": log.bad}, metrics=_metrics(meta))


def _counts(meta: TokensMeta) -> dict[str, int]:
    return {
        f"{split}_{what}": meta.total(split, what) for split in meta.shards for what in ("documents", "tokens", "bytes")
    } | {"vocab_size": meta.vocab_size}


def _metrics(meta: TokensMeta) -> dict[str, float]:
    tokens = sum(meta.total(split, "tokens") for split in meta.shards)
    return {"bytes_per_token": sum(meta.total(split, "bytes") for split in meta.shards) / max(tokens, 1)}


def _refuse_packed(inputs: Inputs) -> None:
    for source in inputs.data:
        if source.form == "tokens":
            raise UsageError(
                "this folder is packed already", where=str(source.path), remedy="name a corpus, or pretrain on it"
            )


def plan(recipe: PackRecipe, inputs: Inputs, progress: Progress) -> Plan:
    _refuse_packed(inputs)
    guess = estimate_text(inputs.data, recipe.columns)
    fast, _ = fast_tokenizer(inputs.folders["tokenizer"])
    total = guess.tokens(lambda texts: sum(len(one.ids) for one in fast.encode_batch_fast(texts))) + guess.rows
    return Plan(
        (
            ("files", len(inputs.data)),
            ("documents (estimate)", guess.rows),
            ("text bytes (estimate)", guess.bytes),
            ("tokens (estimate)", total),
            ("output bytes (estimate)", total * 2 + guess.rows * 8),
        )
    )
