"""A text for a text: translation, summarisation, rewriting; with an encoder-decoder or a causal base."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.encoding import IGNORED
from ptft.core.errors import InputError, UsageError
from ptft.core.files import write_json
from ptft.core.knobs import Decoding
from ptft.core.metrics.text import chrf
from ptft.core.models import Loaded
from ptft.core.predicting import texts
from ptft.core.prompting import PREFIX, encode_sources, encode_targets
from ptft.core.rows import Row
from ptft.core.training import Objective, Pairs, Rows
from ptft.core.training.measure import score_rows
from ptft.stages.finetune.purpose import Better, Collate, Prepared, rows_collate
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task.given import Given
from ptft.stages.finetune.task.judging import better
from ptft.stages.finetune.task.texts import BATCH, make_ready

SHAPES = ("source-target",)
GENERATED = 200  # rows of a validation that are answered, at most


def problem(row: Row) -> str | None:
    """Why a row cannot be learnt from."""
    return next((f"an empty {side}" for side in ("source", "target") if not row.data[side].strip()), None)


def prepare(given: Given) -> TextPairs:
    """Sources and targets as tokens. The end of what is too long is cut, and counted; a causal base learns the target only."""
    base, state, recipe = given.base, given.out.state, given.recipe
    if base.kind == "masked":
        remedy = "start from an encoder-decoder (T5, BART, Marian) or a causal checkpoint"
        raise InputError("a masked model writes no text", where=str(base.named), remedy=remedy)
    judged_by = better(recipe.metric, ("chrf",), "chrf")
    if base.kind == "seq2seq":
        make_ready(base.tokenizer, base.kind, pairs=False)  # without an end of text the model would never learn to stop
    base.tokenizer.init_kwargs[PREFIX] = recipe.prefix
    base.tokenizer.save_pretrained(state / "tokenizer")
    most = min(recipe.max_target_len or given.length // 2, given.length - (0 if base.kind == "seq2seq" else 2))
    if most < 2:
        raise UsageError(
            f"{given.length} tokens leave no room for a target", remedy="raise --seq-len or max_target_len"
        )
    counts = {"sources_cut": 0, "targets_cut": 0}
    for name, rows in {"train": given.train.rows, "val": given.val.rows}.items():
        made, cut = _encoded(base.tokenizer, rows, given.length, most, base.kind == "causal")
        made.save(state / name)
        counts = {key: count + cut[key] for key, count in counts.items()}
    if any(counts.values()):
        what = f"{counts['sources_cut']:,} sources and {counts['targets_cut']:,} targets"
        given.progress.warn(f"{what} are too long ({given.length:,} and {most:,} tokens) and lost their end")
    held = [{name: row.data[name] for name in ("source", "target")} for row in given.val.rows[:GENERATED]]
    write_json(state / "answered.json", held)
    return TextPairs(
        recipe=recipe, base=base.folder, tokenizer=state / "tokenizer", kind=base.kind, length=given.length,
        rows=len(given.train.rows), train=state / "train", val=state / "val", answered=state / "answered.json",
        max_target_len=most, judged_by=judged_by,
        counts={"rows": len(given.train.rows), **counts, "rows_rejected": given.rejected},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextPairs(Prepared):
    """train, val: folders of `Pairs`, of a causal base `Rows`. answered: sources and targets that a validation generates for."""

    recipe: TaskRecipe
    train: Path
    val: Path
    answered: Path
    max_target_len: int
    judged_by: Better

    @property
    def is_causal(self) -> bool:
        return self.kind == "causal"

    @property
    def objective(self) -> Objective:
        return Objective("tokens", sparse=self.is_causal)

    @property
    def better(self) -> Better:
        return self.judged_by

    def new_model(self, dtype: str = "float32") -> Any:
        import transformers

        if self.recipe.init == "base":
            return super().new_model(dtype)
        transformers.set_seed(self.recipe.seed)
        return models.auto_class(self.kind).from_config(models.load_config(self.base))

    def source(self) -> Rows | Pairs:
        return self._rows(self.train)

    def collate(self) -> Collate:
        return rows_collate(self)

    @property
    def held_out(self) -> int:
        return len(self._rows(self.val))

    def measure(self, model: Any) -> dict[str, float]:
        """Mean loss of a target's token, and chrF of greedy answers to the first `GENERATED` rows, written without teaching."""
        loss = score_rows(model, self._rows(self.val), self.collate())
        training, tokenizer = model.training, models.load_tokenizer(self.tokenizer)
        rows = json.loads(self.answered.read_text(encoding="utf-8"))
        targets = [row["target"] for row in rows]
        longest = max(map(len, encode_targets(tokenizer, targets, self.max_target_len, causal=self.is_causal)[0]))
        room = min(2 * longest, self.max_target_len)  # a model that does not stop yet should not cost more
        sources = [row["source"] for row in rows]
        limit = self.length - room if self.is_causal else self.length
        prompts, _ = encode_sources(tokenizer, sources, [limit] * len(rows), causal=self.is_causal)
        loaded = Loaded(model.eval(), tokenizer, self.kind, (), self.length, self.base)
        answers = texts(loaded, prompts, Decoding(max_new_tokens=room), batch_size=BATCH)
        model.train(training)
        return {"val_loss": loss, "chrf": float(chrf(answers, targets, resamples=0)["score"])}

    def _rows(self, folder: Path) -> Rows | Pairs:
        return Rows.load(folder) if self.is_causal else Pairs.load(folder)


def _encoded(
    tokenizer: Any, rows: Sequence[Row], length: int, most: int, causal: bool
) -> tuple[Rows | Pairs, dict[str, int]]:
    """What is learnt from, and how many sources and targets were cut. A causal row is source and target in `length` tokens."""
    sources, wanted = [row.data["source"] for row in rows], [row.data["target"] for row in rows]
    targets, targets_cut = encode_targets(tokenizer, wanted, most, causal=causal)
    rooms = [length - len(target) if causal else length for target in targets]
    prompts, sources_cut = encode_sources(tokenizer, sources, rooms, causal=causal)
    cut = {"sources_cut": sources_cut, "targets_cut": targets_cut}
    if not causal:
        return Pairs.of(prompts, targets), cut
    labelled = (
        {"input_ids": [*prompt, *target], "labels": [*[IGNORED] * len(prompt), *target]}
        for prompt, target in zip(prompts, targets, strict=True)
    )
    return Rows.of(labelled), cut
