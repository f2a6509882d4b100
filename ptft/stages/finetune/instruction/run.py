"""`ptft finetune instruction`: a causal checkpoint learns to answer; the loss is on the responses only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.chat import ChatEncoder, stop_ids
from ptft.core.contracts import Inputs, Output, Plan, Result
from ptft.core.errors import InputError
from ptft.core.examples import CONVERSATIONS
from ptft.core.progress import Piece, Progress
from ptft.core.rows import RejectLog
from ptft.core.training import Padding, Rows
from ptft.core.training.data import Source
from ptft.core.training.isolation import BY_POSITIONS
from ptft.core.training.measure import score_rows
from ptft.core.training.objectives import Objective
from ptft.core.training.processes import world_size
from ptft.stages.finetune.base import Base, base_of
from ptft.stages.finetune.instruction import reading
from ptft.stages.finetune.instruction.encoding import Fitting, Tally, encoded
from ptft.stages.finetune.instruction.packing import PackedPadding, PackedRows, refuse_mixing
from ptft.stages.finetune.instruction.template import choose_template, lengthened
from ptft.stages.finetune.learning import finetuned
from ptft.stages.finetune.planning import plan_rows
from ptft.stages.finetune.purpose import Collate, Prepared, rows_collate
from ptft.stages.finetune.recipe import InstructionRecipe

SPARSE = 0.75  # share of the tokens that are learnt, below which the output layer sees those only
_TOO_LONG = {
    "end": "lost their end", "start": "lost their earliest turns", "drop": "",
}  # fmt: skip


def run(recipe: InstructionRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    return finetuned(prepare(recipe, inputs, out, progress), out, progress)


def plan(recipe: InstructionRecipe, inputs: Inputs, progress: Progress) -> Plan:
    choose_template(recipe, _causal(recipe, inputs, None), progress)
    return plan_rows(recipe, inputs, CONVERSATIONS)


@dataclass(frozen=True, kw_only=True)
class Conversations(Prepared):
    """train, val: folders of `Rows`. added: tokens that are new to the base. share: of the tokens, how many are learnt.

    shown: by shape of row, one as text.
    """

    recipe: InstructionRecipe
    train: Path
    val: Path
    added: tuple[int, ...]
    share: float
    shown: tuple[tuple[str, tuple[Piece, ...]], ...]

    @property
    def objective(self) -> Objective:
        return Objective("tokens", sparse=self.share < SPARSE)

    @property
    def batch(self) -> int:
        """Sequences a step. Packed, as many as hold `batch_size` rows on average, and each process has as many as any other."""
        if not self.recipe.packing:
            return self.recipe.batch_size
        each = self.recipe.batch_size * self.rows / len(Rows.load(self.train)) / world_size()
        return max(1, round(each)) * world_size()

    @property
    def unit(self) -> str:
        return "packed sequences" if self.recipe.packing else "rows"

    @property
    def changes_base(self) -> bool:
        return bool(self.added)

    @property
    def new_token_ids(self) -> tuple[int, ...]:
        return self.added

    def new_model(self, dtype: str = "float32") -> Any:
        return lengthened(super().new_model(dtype), self.added)

    def source(self) -> Source:
        rows = Rows.load(self.train)
        return PackedRows(rows, self.length) if self.recipe.packing else rows

    def collate(self) -> Collate:
        found = rows_collate(self)
        return PackedPadding(found.pad_id) if self.recipe.packing and isinstance(found, Padding) else found

    @property
    def held_out(self) -> int:
        return len(Rows.load(self.val))

    @property
    def measures_before(self) -> bool:
        return True

    def measure(self, model: Any) -> dict[str, float]:
        return {"val_loss": score_rows(model, Rows.load(self.val), rows_collate(self))}

    def finish(self, model: Any) -> None:
        model.generation_config.eos_token_id = stop_ids(models.load_tokenizer(self.tokenizer))

    def show(self, progress: Progress) -> None:
        for title, pieces in self.shown:
            progress.marked(title, pieces)


def prepare(recipe: InstructionRecipe, inputs: Inputs, out: Output, progress: Progress) -> Conversations:
    log = RejectLog(out.new / "rejected.jsonl", recipe.max_bad_rows)
    base = _causal(recipe, inputs, out)
    if recipe.packing and base.config.model_type not in BY_POSITIONS:
        refuse_mixing(models.load_plain(base.folder, "float32")[0])
    added = choose_template(recipe, base, progress)
    base.tokenizer.save_pretrained(out.state / "tokenizer")
    given = reading.read(recipe, inputs, log, progress)
    fitting = Fitting(ChatEncoder(base.tokenizer), base.length(recipe), recipe.truncate)
    train, tally = encoded(given.train, fitting, log, progress)
    _say(tally, len(given.train), fitting, progress)
    val, held = encoded(given.val, fitting, log, progress)
    if given.val and not held.kept:
        raise _nothing(len(given.val), fitting, "to measure on ")
    if held.kept < len(given.val):
        lost = len(given.val) - held.kept
        progress.warn(f"{lost:,} of {len(given.val):,} rows to measure on do not fit or are refused: left out")
    train.save(out.state / "train")
    val.save(out.state / "val")
    longest = int(train.lengths.max())
    length = fitting.length if recipe.packing else longest
    sequences = len(PackedRows(train, length)) if recipe.packing else len(train)
    return Conversations(
        recipe=recipe, base=base.folder, tokenizer=out.state / "tokenizer", kind="causal", length=length, rows=sequences,
        counts=_counts(tally, len(train), sequences, log), train=out.state / "train", val=out.state / "val", added=added,
        share=tally.learnt / tally.tokens, shown=tuple(_titled(tally)),
    )  # fmt: skip


def _causal(recipe: InstructionRecipe, inputs: Inputs, out: Output | None) -> Base:
    base = base_of(recipe, inputs, out)
    if base.kind != "causal":
        remedy = "name a checkpoint made with `ptft pretrain --objective causal`"
        if base.kind == "seq2seq":
            remedy = "teach an encoder-decoder with `ptft finetune task --task text-to-text`"
        what = f"instructions need a causal base, and this is a {base.kind} model"
        raise InputError(what, where=str(base.named), remedy=remedy)
    return base


# ---------------------------------------------------------------- what a person is told


def _say(tally: Tally, rows: int, fitting: Fitting, progress: Progress) -> None:
    """Everything that rows lost. Raises `InputError` where none is left."""
    if not tally.kept:
        raise _nothing(rows, fitting)
    length = fitting.length
    if tally.cut:
        progress.warn(f"{tally.cut:,} of {rows:,} rows are longer than {length:,} tokens and {_TOO_LONG[fitting.rule]}")
    if tally.too_long:
        progress.warn(f"{tally.too_long:,} of {rows:,} rows are longer than {length:,} tokens: left out")
    if tally.without_response:
        progress.warn(
            f"{tally.without_response:,} of {rows:,} rows have no response within {length:,} tokens: left out"
        )
    if tally.broken:
        what = "rows spell a special token in what is said; there it stays plain text"
        progress.warn(f"{tally.broken:,} of {rows:,} {what}")
    if tally.unfolded:
        what = "the chat template writes earlier turns differently once another follows (it leaves out thinking, say)"
        progress.note(
            f"{what}: {tally.unfolded:,} conversations are learnt as one row a turn, each as the model will see it"
        )


def _nothing(rows: int, fitting: Fitting, purpose: str = "") -> InputError:
    remedy = "raise --seq-len, or check that the rows have responses"
    return InputError(
        f"none of the {rows:,} rows {purpose}has a response within {fitting.length} tokens", remedy=remedy
    )


def _counts(tally: Tally, rows: int, sequences: int, log: RejectLog) -> dict[str, Any]:
    packed = {"sequences": sequences} if sequences != rows else {}
    return {
        "rows": rows, **packed, "rows_cut": tally.cut, "rows_too_long": tally.too_long,
        "rows_without_response": tally.without_response, "response_tokens": tally.learnt, "tokens": tally.tokens,
        "rows_rejected": log.bad,
    }  # fmt: skip


def _titled(tally: Tally) -> list[tuple[str, tuple[Piece, ...]]]:
    return [(f"{tally.shapes[shape]:,} {shape} rows; the first", pieces) for shape, pieces in tally.examples.items()]
