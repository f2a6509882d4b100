"""`ptft clean`: blocks of rows through every core, then duplicates among all of them, then the corpus in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ptft.core.blocks import begin, cut, folder_of
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.dedup import Store, components
from ptft.core.errors import InputError, UsageError
from ptft.core.files import json_line
from ptft.core.minhash import Scheme
from ptft.core.progress import Progress, table_of
from ptft.core.rows import Rejected, RejectLog, Row, keep_rejected
from ptft.core.workers import ordered_map
from ptft.stages.clean import against, augmented, parts, reapply, report
from ptft.stages.clean.block import Block, Job, clean_block, scheme_of
from ptft.stages.clean.edits import TEXT_SHAPES, Editor
from ptft.stages.clean.funnel import Funnel
from ptft.stages.clean.items import TEXT, first_shape, read_items
from ptft.stages.clean.judge import ADDED
from ptft.stages.clean.output import Duplicate, Written, write_corpus
from ptft.stages.clean.protect import protected
from ptft.stages.clean.recipe import RULE_SETS, CleanRecipe
from ptft.stages.clean.survivors import repeats

STRICT = 0.2  # a share of the rows that one rule takes, from which it is named


def run(recipe: CleanRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """Clean the rows of `inputs.data` into `out.new`; finished blocks wait in `out.state` for a run that was interrupted."""
    refuse_no_input(recipe, inputs)
    measuring = reapply.measuring_of(recipe)
    if recipe.reapply:
        measuring = reapply.measuring_at(recipe, inputs.folders["reapply"])
        keep_rejected(inputs.folders["reapply"] / "rejected.jsonl", out.new)
    augment = augmented.prepared(recipe, inputs)
    bands = scheme_of(recipe)
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    rows = begin(out.state, recipe.block_rows)
    folders = _measured_blocks(_Work(recipe, inputs, bands, out.state, rows, log, progress))
    if not log.rows:
        raise InputError("the input holds no rows", remedy="check that the files are not empty")
    log.check()
    store = Store(folders) if recipe.duplicates.enabled else None
    gone = _duplicates(recipe, inputs, store, bands, folders, progress) if store else {}
    funnel = Funnel(sampled=recipe.samples, rejected=log.bad)
    with progress.step("writing", total=len(folders), unit="blocks") as step:
        written = write_corpus(folders, gone, out.new, recipe.output, measuring, funnel, step)
    if not written.kept:
        raise InputError(f"every one of the rows is dropped: {_reasons(funnel)}", remedy=_remedy(funnel))
    if store:
        corpus = out.new / f"corpus.{recipe.output}"
        against.save(out.new, corpus, written.kept, store, written.candidates, bands, measuring)
    made = augmented.write(augment, recipe.seed, recipe.workers, out, progress)
    report.write(out.new / "report.html", recipe, funnel)
    _report(funnel, written, log, progress)
    _name_the_strictest(funnel, out.final, progress)
    clusters = len({repeat.of for repeat in gone.values() if isinstance(repeat.of, int)})
    counts = {
        "rows_read": log.rows,
        "rows_rejected": log.bad,
        **funnel.counts(),
        "duplicate_clusters": clusters,
        **made,
    }
    return Result(counts)


def _remedy(funnel: Funnel) -> str:
    rule = next(iter(funnel.counts()["dropped_by_reason"]))
    others = {
        "language": "check --lang", "min_language_score": "check min_language_score", "empty": "check --text-field",
        "protected": "the input is the evaluation set itself, or holds it: check --protect",
        "earlier_duplicate": "earlier results have all of it: check --against",
    }  # fmt: skip
    return others.get(rule) or f"loosen the rule with --set {rule}=..., or use --rules off"


def plan(recipe: CleanRecipe, inputs: Inputs, progress: Progress) -> Plan:
    """What `run` would read and keep, judged on a sample."""
    from ptft.stages.clean.plan import planned

    refuse_no_input(recipe, inputs)
    return planned(recipe, inputs, progress)


def refuse_no_input(recipe: CleanRecipe, inputs: Inputs) -> None:
    if bool(recipe.reapply) == bool(inputs.data):
        what = "--reapply takes the rows of an earlier result, and an input is named too" if inputs.data else "no input"
        raise UsageError(what, remedy="name what to read: ptft clean INPUT... -o DIR, or --reapply an earlier result")


# ---------------------------------------------------------------- blocks


@dataclass(frozen=True)
class _Work:
    """What every step of a run has at hand. rows: of a block, in this state."""

    recipe: CleanRecipe
    inputs: Inputs
    bands: Scheme
    state: Path
    rows: int
    log: RejectLog
    progress: Progress

    def blocks(self) -> Iterator[Block]:
        items = read_items(self.recipe, self.inputs.data)
        return itertools.starmap(Block, cut(map(_packed, items), self.rows))


def _measured_blocks(work: _Work) -> list[Path]:
    """Every block measured, judged and committed, its rejected rows logged; the blocks' folders in order."""
    return _judged_again(work) if work.recipe.reapply else _cleaned(work)


def _judged_again(work: _Work) -> list[Path]:
    job = Job(work.recipe, work.bands, TEXT, work.state)
    blocks = reapply.blocks_of(work.inputs.folders["reapply"], work.rows)
    return _committed(work, partial(reapply.rejudge_block, job), blocks, "judging again")


def _cleaned(work: _Work) -> list[Path]:
    recipe, inputs = work.recipe, work.inputs
    expected = first_shape(read_items(recipe, inputs.data))
    if expected.name not in TEXT_SHAPES and recipe.rules == "auto":
        work.progress.note(
            f"the rows are {expected.name}: strings are normalised and duplicates dropped, no quality rules"
        )
    words = _word_files(inputs)
    job = Job(recipe, work.bands, expected, work.state, words, _protects(work), recipe.duplicates.parts != "off")
    if job.parts:
        _find_parts(work, job)
    return _committed(work, partial(clean_block, job), work.blocks(), "cleaning")


def _packed(item: Row | Rejected) -> tuple[tuple[bytes, str, int] | Rejected, int]:
    """A row as a process is sent it, and its size."""
    if isinstance(item, Rejected):
        return item, len(item.raw)
    line = json_line(item.data)
    return (line, item.source, item.line), len(line)


def _committed(work: _Work, function: Callable[[Any], int], blocks: Iterable[Any], name: str) -> list[Path]:
    """Do the blocks that no earlier try has finished; the folders of all."""
    pending = (block for block in blocks if not folder_of(work.state, block.number).exists())
    folders: list[Path] = []
    with work.progress.step(name) as step:
        for _ in itertools.chain(ordered_map(function, pending, work.recipe.workers), [None]):
            while (folder := folder_of(work.state, len(folders))).exists():
                step.advance(_log_block(folder, work.log))
                folders.append(folder)
    return folders


def _log_block(folder: Path, log: RejectLog) -> int:
    """Tell the log of a block's rows in their order; returns how many they are."""
    good, seen = len(np.load(folder / "facts.npy", mmap_mode="r")), 0
    with (folder / "rejected.jsonl").open("rb") as lines:
        rejected = [orjson.loads(line) for line in lines]
    for entry in rejected:
        place = entry.pop("place")
        log.ok(place - seen)
        log.reject(Rejected(**entry))
        seen = place + 1
    log.ok(good + len(rejected) - seen)
    return good + len(rejected)


def _word_files(inputs: Inputs) -> tuple[Path, ...]:
    return tuple(source.path for source in inputs.rows.get("sensitive.files", ()))


def _protects(work: _Work) -> bool:
    """Keep the n-grams of the evaluation sets in the state, for every worker; whether there are any."""
    sources, options = work.inputs.rows.get("protect.files", ()), work.recipe.protect
    if not sources:
        return False
    found = protected(sources, options, Editor(work.recipe).normalised)
    found.save(work.state)
    if found.too_short:
        short = f"{found.too_short:,} evaluation texts have fewer than {options.min_tokens} tokens"
        work.progress.warn(f"{short}: too short to look for")
    return True


def _find_parts(work: _Work, job: Job) -> None:
    """Note in the state which lines or paragraphs of each block were seen before."""
    options, state = work.recipe.duplicates, parts.folder(work.state)
    begin(state, work.rows)
    pending = (block for block in work.blocks() if not folder_of(state, block.number).exists())
    with work.progress.step(f"{options.parts} seen before", unit="blocks") as step:
        for _ in ordered_map(partial(parts.hash_block, job), pending, work.recipe.workers):
            step.advance()
    blocks = sum(1 for path in state.iterdir() if path.is_dir())
    count = parts.mark_repeats(work.state, blocks, options.scope)
    work.progress.note(f"{count:,} {options.parts} were seen before and go")


# ---------------------------------------------------------------- duplicates and the report


def _duplicates(
    recipe: CleanRecipe, inputs: Inputs, store: Store, bands: Scheme, folders: Sequence[Path], progress: Progress
) -> dict[int, Duplicate]:
    options = recipe.duplicates
    gone: dict[int, Duplicate] = {}
    sources = [source for source in inputs.rows.get("duplicates.against", ()) if source.path.name != augmented.FILE]
    if sources:
        editor = Editor(recipe, _word_files(inputs))
        with progress.step("duplicates of earlier results", total=1, unit="index") as step:
            earlier, remade = against.repeats_of_earlier(recipe, editor, store, sources, bands)
            step.advance()
        for path in remade:
            progress.note(f"{path} has no index made with these settings: its rows were fingerprinted anew")
        gone = {
            row: Duplicate("earlier_duplicate", found.similarity, options.threshold, found.of, found.place)
            for row, found in earlier.items()
        }
    with progress.step("near-duplicates", total=bands.bands, unit="bands") as step:
        roots = components(store, bands.bands, options.threshold, step.advance)
    for row, repeat in repeats(
        store, roots, bands.bands, options.threshold, _rank(recipe, store, folders), frozenset(gone)
    ).items():
        rule = "exact_duplicate" if repeat.exact else "near_duplicate"
        gone[row] = Duplicate(rule, repeat.similarity, options.threshold, repeat.of, cluster_size=repeat.cluster_size)
    return gone


def _rank(recipe: CleanRecipe, store: Store, folders: Sequence[Path]) -> list[Any]:
    keep = recipe.duplicates.keep
    if keep == "first":
        return []
    if keep == "longest":
        return [store.sizes()]
    facts = [np.load(folder / "facts.npy") for folder in folders]
    return [np.concatenate([part["quality"][~part["dropped"]] for part in facts]), store.sizes()]


def _reasons(funnel: Funnel) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in funnel.counts()["dropped_by_reason"].items())


def _name_the_strictest(funnel: Funnel, out: Path, progress: Progress) -> None:
    """A rule that takes a large part of a corpus is perhaps not meant for it: say so, and how to change it cheaply."""
    rules = [rule for rule in funnel.rules() if rule.partition(".")[0] in RULE_SETS]
    for rule in rules:
        share = funnel.total(rule).documents / funnel.total().documents
        if share >= STRICT:
            progress.warn(
                f"{rule} dropped {share:.0%} of the rows. If that is not meant, see {out / 'report.html'}; to change it without measuring "
                f"again: ptft clean --reapply {out} --set {rule}=... -o OTHER"
            )


def _report(funnel: Funnel, written: Written, log: RejectLog, progress: Progress) -> None:
    if log.bad:
        progress.warn(f"{log.bad:,} of {log.rows:,} rows cannot be used: see rejected.jsonl")
    if written.same_ids:
        progress.warn(f"{written.same_ids:,} kept rows have an id that another kept row has too; all are kept")
    if replaced := funnel.edits["rows_with_fields_of_clean"]:
        progress.warn(
            f"{replaced:,} rows had fields that clean writes itself ({', '.join(ADDED)}): those were left out"
        )
    if funnel.rules():
        progress.table(funnel.step_table())
        progress.table(funnel.rule_table())
    if any(funnel.edits.values()):
        rows = [(name.replace("_", " "), count) for name, count in sorted(funnel.edits.items()) if count]
        progress.table(table_of("edits", ("", "times"), rows))
