"""`ptft pretrain`: a language model from a corpus or packed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ptft.core import models
from ptft.core.contracts import Inputs, Output, Result
from ptft.core.errors import UsageError
from ptft.core.packing import Packed, PackOptions, packed_once
from ptft.core.progress import Progress
from ptft.core.rows import keep_rejected
from ptft.stages.pretrain.architectures import refuse_other_tokenizer
from ptft.stages.pretrain.plan import plan
from ptft.stages.pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from ptft.stages.pretrain.learning import Job

__all__ = ["plan", "run"]
LAST = (
    "loss",
    "val_loss",
    "bits_per_byte",
    "perplexity",
    "val_pair_loss",
    "balance",
    "expert_use_min",
    "expert_use_max",
)


def run(recipe: PretrainRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    from ptft.core.training import processes
    from ptft.core.training.refusals import refuse_undoable
    from ptft.stages.pretrain.learning import Job, beside, learn

    refuse_undoable(recipe.precision, recipe.hardware)
    packed, counts = _packed(recipe, inputs, out, progress)
    job = Job(recipe, packed.folder, inputs.folders.get("from_checkpoint"), out)
    with processes.spread(beside, job, recipe.nproc):
        learnt = learn(job, progress)
    _save(job, learnt.trained.model, packed)
    counts |= {"parameters": learnt.parameters, "steps": learnt.trained.last_step, "tokens_trained": learnt.tokens}
    return Result(counts, {**_last(learnt.trained.history), **learnt.figures})


def _last(history: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The newest of each figure of the metrics log."""
    newest: dict[str, Any] = {}
    for entry in history:
        newest.update(entry)
    return {name: newest[name] for name in LAST if name in newest}


def _packed(recipe: PretrainRecipe, inputs: Inputs, out: Output, progress: Progress) -> tuple[Packed, dict[str, Any]]:
    """The tokens to train on: as they are, or packed now from the corpus."""
    if any(source.form == "tokens" for source in inputs.data):
        if len(inputs.data) > 1:
            raise UsageError(
                "more than one input, and one is packed", remedy="pack all of them together: ptft pack ..."
            )
        packed = Packed(inputs.data[0].path)
        for name in ("tokenizer", "from_checkpoint"):
            if name in inputs.folders:
                refuse_other_tokenizer(packed.tokenizer, inputs.folders[name])
        return packed, {"train_tokens": packed.meta.total("train", "tokens")}
    _refuse_models(inputs)
    tokenizer = inputs.folders.get("tokenizer") or inputs.folders.get("from_checkpoint")
    if tokenizer is None:
        raise UsageError("a corpus needs a tokenizer", remedy="name one with -t, or pack first and name that folder")
    if "from_checkpoint" in inputs.folders:
        refuse_other_tokenizer(tokenizer, inputs.folders["from_checkpoint"])
    options = PackOptions(
        recipe.seq_len or models.DEFAULT_SEQ_LEN, recipe.val, recipe.seed, columns=dict(recipe.columns)
    )
    packed, log = packed_once(inputs.data, tokenizer, out.state, "tokens", options, recipe.max_bad_rows, progress)
    rejected = keep_rejected(log, out.new)
    return packed, {"train_tokens": packed.meta.total("train", "tokens"), "rows_rejected": rejected}


def _refuse_models(inputs: Inputs) -> None:
    """A folder of a model or tokenizer named as a corpus: its JSON files would be read as rows."""
    for source in inputs.data:
        if source.path.name in ("config.json", "tokenizer.json"):
            kind = "a checkpoint" if source.path.name == "config.json" else "a tokenizer"
            remedy = "name a corpus; a checkpoint to go on from is --from, a tokenizer -t"
            raise UsageError(f"this is {kind}, not a corpus", where=str(source.path.parent), remedy=remedy)


def _save(job: Job, model: Any, packed: Packed) -> None:
    from ptft.core.training.logs import publish
    from ptft.stages.pretrain.learning import tokenizer_for

    models.save(model, tokenizer_for(job.recipe, packed, job.seq_len), job.out.new)
    publish(job.out.state, job.out.new)
