"""`ptft pack`: a corpus to memory-mapped tokens."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from ptft.core.contracts import TOKENIZER, Inputs, Output, Plan, Result
from ptft.core.errors import UsageError
from ptft.core.files import Source, hash_file
from ptft.core.packing import JOURNAL, Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.core.rows import keep_rejected
from ptft.core.sample import estimate_text
from ptft.core.tokenising import Encoder, one_thread, unknown_id
from ptft.core.workers import cores
from ptft.stages.pack import figures
from ptft.stages.pack.recipe import PackRecipe

UNKNOWN_WORTH_A_WORD = 0.001  # of the tokens


def run(recipe: PackRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Pack the rows of `inputs.data`, after the documents of the token folders among them, into `out.new`."""
    onto, rows = _sorted_out(recipe, inputs)
    options = PackOptions(
        recipe.seq_len, recipe.val, recipe.seed, recipe.shard_tokens, recipe.block_rows, dict(recipe.columns),
        recipe.packing, recipe.workers,
    )  # fmt: skip
    tokenizer = inputs.folders["tokenizer"]
    packed, log = packed_once(rows, tokenizer, out.state, "tokens", options, recipe.max_bad_rows, progress, onto)
    _publish(packed.folder, out.new)
    rejected = keep_rejected(log, out.new)
    found = figures.of(packed)
    if found.sequences["concat"] == 0:
        progress.warn(f"fewer training tokens than one sequence of {recipe.seq_len}; lower --seq-len")
    if packed.meta.empty:
        progress.note(f"{packed.meta.empty:,} documents have no tokens and are left out")
    _warn_of_unknown(packed, tokenizer, progress)
    progress.table(found.table())
    return Result({**found.counts(), "rows_rejected": rejected}, found.metrics())


def _warn_of_unknown(packed: Packed, tokenizer: Path, progress: Progress) -> None:
    """A tokenizer that cannot read the text swallows it, and flatters every figure a token."""
    ident = unknown_id(tokenizer)
    if ident is None:
        return
    shards = packed.tokens("train")
    share = sum(int((shard == ident).sum()) for shard in shards) / max(1, sum(map(len, shards)))
    if share > UNKNOWN_WORTH_A_WORD:
        what = f"{share:.1%} of the tokens stand for text that the tokenizer does not know"
        progress.warn(f"{what}: a byte-level one (`ptft tokenizer`) knows all")


def _publish(folder: Path, new: Path) -> None:
    """Hard links: a kill while they are made leaves the finished folder whole."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != JOURNAL:
            target = new / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            with suppress(OSError):
                os.link(path, target)
            if not target.exists():
                shutil.copyfile(path, target)


def _sorted_out(recipe: PackRecipe, inputs: Inputs) -> tuple[list[Packed], list[Source]]:
    """The token folders to add to, and the sources of rows. Raises `UsageError` where they do not go together."""
    onto = [Packed(source.path) for source in inputs.data if source.form == "tokens"]
    rows = [source for source in inputs.data if source.form != "tokens"]
    if len(onto) == 1 and not rows:
        remedy = "name what to add to it, or pretrain on it: any --seq-len and packing can be read from it"
        raise UsageError("this folder is packed already", where=str(onto[0].folder), remedy=remedy)
    for packed in onto:
        _refuse_other(packed, recipe, inputs.folders["tokenizer"])
    return onto, rows


def _refuse_other(packed: Packed, recipe: PackRecipe, tokenizer: Path) -> None:
    meta, where = packed.meta, str(packed.folder)
    TOKENIZER.require(tokenizer)
    if hash_file(tokenizer / "tokenizer.json") != meta.tokenizer_hash:
        remedy = f"name its own with -t {packed.tokenizer}, or pack all of the text anew"
        raise UsageError("this folder was packed with another tokenizer", where=where, remedy=remedy)
    if recipe.val != meta.val or (recipe.val and recipe.seed != meta.seed):
        asked, was = (
            f"--val {val:g} --seed {seed}" for val, seed in ((recipe.val, recipe.seed), (meta.val, meta.seed))
        )
        what = f"this folder was packed with {was}, not {asked}: its documents would be on other sides"
        raise UsageError(what, where=where, remedy=f"add {was}, or pack all of the text anew")


# ---------------------------------------------------------------- what it would cost


def plan(recipe: PackRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """Tokens, sequences and time from a look at the first rows, encoded as `run` would."""
    onto, rows = _sorted_out(recipe, inputs)
    guess = estimate_text(rows, recipe.columns) if rows else None
    encoder = Encoder(inputs.folders["tokenizer"])
    texts = guess.texts if guess else []
    with one_thread():
        lengths = encoder(texts[::2]).lengths  # learns the commonest words, which a long run has done soon
        clock = time.perf_counter()
        lengths = np.concatenate([lengths, encoder(texts[1::2]).lengths])
        seconds = 2 * (time.perf_counter() - clock)
    scale = guess.bytes / max(1, sum(len(text.encode()) for text in texts)) if guess else 0.0
    earlier = sum(packed.meta.total(split, "tokens") for packed in onto for split in packed.meta.shards)
    tokens = int(lengths.sum() * scale) + earlier
    documents = guess.rows if guess else 0
    workers = recipe.workers or cores()
    width = np.dtype(encoder.special.dtype).itemsize
    return Plan(
        (
            ("files", len(rows)),
            ("documents (estimate)", documents),
            ("text bytes (estimate)", guess.bytes if guess else 0),
            ("tokens packed earlier", earlier),
            ("tokens (estimate)", tokens),
            *figures.estimated(lengths, tokens, recipe.seq_len, recipe.packing),
            ("output bytes (estimate)", tokens * width + documents * 8),
            ("workers", workers),
            ("time", f"about {max(1, round(seconds * scale / workers)):,} s"),
        )
    )
