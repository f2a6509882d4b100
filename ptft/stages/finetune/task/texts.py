"""What the tasks that tell something of a whole text have in common: its rows as tokens, its tokenizer, its model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core import models
from ptft.core.encoding import Encoded
from ptft.core.errors import InputError
from ptft.core.models import Kind, Loaded
from ptft.core.rows import Row
from ptft.core.scoring import classify, encode_cut
from ptft.core.training import Padding, Rows
from ptft.stages.finetune.purpose import Collate, pad_id
from ptft.stages.finetune.task.given import Given, Part, good
from ptft.stages.finetune.task.headed import Headed

BATCH = 16  # rows a forward pass of a validation
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class HeadedTexts(Headed):
    """A head over whole texts. train, val: folders of `Rows` with labels."""

    def collate(self) -> Collate:
        return Padding(pad_id(models.load_tokenizer(self.tokenizer)), token_labels=False)

    def measure(self, model: Any) -> dict[str, float]:
        rows = Rows.load(self.val)
        training, tokenizer = model.training, models.load_tokenizer(self.tokenizer)
        loaded = Loaded(model.eval(), tokenizer, "classifier", self.head.labels, self.length, self.base)
        outputs = classify(loaded, [_ids(rows, index) for index in range(len(rows))], BATCH).astype(np.float64)
        model.train(training)
        assert rows.labels is not None
        return self.figures(outputs, rows.labels)

    @abstractmethod
    def figures(self, outputs: Array, labels: Array) -> dict[str, float]:
        """ "val_loss" and the task's metrics, of outputs (rows, labels) and what is right."""


def _ids(rows: Rows, index: int) -> Encoded:
    return {name: values.tolist() for name, values in rows[index].items() if name != "labels"}


# ---------------------------------------------------------------- making ready


@dataclass(frozen=True)
class Made:
    """Folders of `Rows`, and the tokenizer's; pad_id: what the model is padded with. rows_cut: rows longer than the model takes."""

    train: Path
    val: Path
    tokenizer: Path
    pad_id: int
    rows_cut: int


def make_rows(given: Given, label_of: Callable[[Row], Any]) -> Made:
    """Tokens and labels of both parts, in files of the run's state."""
    pairs = _are_pairs(given.train)
    tokenizer, state = given.base.tokenizer, given.out.state
    make_ready(tokenizer, given.base.kind, pairs)
    if pairs and getattr(given.base.config, "type_vocab_size", 0) > 1:
        _make_token_types(tokenizer)
    tokenizer.save_pretrained(state / "tokenizer")
    cut = 0
    for name, part in {"train": given.train, "val": given.val}.items():
        texts, second = _texts(part.rows, pairs)
        encoded, longer = encode_cut(tokenizer, texts, second, given.length)
        Rows.of(encoded, [label_of(row) for row in part.rows]).save(state / name)
        cut += len(longer)
    if cut:
        given.progress.warn(f"{cut:,} rows are longer than {given.length:,} tokens and were cut")
    return Made(state / "train", state / "val", state / "tokenizer", tokenizer.pad_token_id, cut)


def alike(given: Given) -> Given:
    """The same without the rows that have a second text where the first row has none, or none where it has one.

    Raises `InputError` where the first rows of the two parts differ in that.
    """
    pairs = _are_pairs(given.train)
    if given.val.rows and _are_pairs(given.val) != pairs:
        what = "the rows to learn from and those of --eval-data differ: only one of them has 'text_pair'"
        raise InputError(what, remedy="give both, or neither, a second text")

    def problem(row: Row) -> str | None:
        if _is_pair(row) == pairs:
            return None
        return "no field 'text_pair', which the first row has" if pairs else "a second text, which the first row lacks"

    train, val = (replace(part, rows=good(part.rows, problem, given.log)) for part in (given.train, given.val))
    return replace(given, train=train, val=val)


def _is_pair(row: Row) -> bool:
    return isinstance(row.data.get("text_pair"), str)


def _are_pairs(part: Part) -> bool:
    return bool(part.rows) and _is_pair(part.rows[0])


def _texts(rows: Sequence[Row], pairs: bool) -> tuple[list[str], list[str] | None]:
    return [row.data["text"] for row in rows], [row.data["text_pair"] for row in rows] if pairs else None


def make_ready(tokenizer: Any, kind: Kind, pairs: bool) -> None:
    """Let the saved tokenizer alone, without ptft, make what the model is trained on.

    It pads on the right, with a token that the model is told of. Where it adds no special tokens, the end-of-text token comes
    to stand between the two texts of a pair; and, in an encoder-decoder, whose heads read it, behind each text.
    Raises `InputError` where it has no token for that.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        # the family's head reads the last token that is not padding, so a text that ends with this one is read alike in any batch
        tokenizer.pad_token = _named(tokenizer, ("unk_token",) if kind == "seq2seq" else ("eos_token", "unk_token"))
    if tokenizer.num_special_tokens_to_add(pair=pairs) == 0 and (pairs or kind == "seq2seq"):
        end = _named(tokenizer, ("eos_token", "sep_token"))
        _add_special(tokenizer, end, behind=kind == "seq2seq")


def _make_token_types(tokenizer: Any) -> None:
    """Tell the two texts of a pair apart, as pretraining on pairs did; ptft's own tokenizers make no token types unless told."""
    if "token_type_ids" not in tokenizer.model_input_names:
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # what is saved


def _named(tokenizer: Any, kinds: Sequence[str]) -> str:
    found = next((getattr(tokenizer, kind) for kind in kinds if getattr(tokenizer, kind)), None)
    if found is None:
        remedy = f"set pad_token and {kinds[0]} in tokenizer_config.json"
        raise InputError(f"the tokenizer has none of {', '.join(kinds)}", remedy=remedy)
    return str(found)


def _add_special(tokenizer: Any, end: str, *, behind: bool) -> None:
    from tokenizers.processors import Sequence as Chain
    from tokenizers.processors import TemplateProcessing

    last = f" {end}" if behind else ""
    made = TemplateProcessing(
        single=f"$A{last}", pair=f"$A:0 {end}:0 $B:1{f'{last}:1' if behind else ''}",
        special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))],
    )  # fmt: skip
    backend = tokenizer.backend_tokenizer
    present = backend.post_processor
    backend.post_processor = made if type(present) in (type(None), TemplateProcessing) else Chain([present, made])


def label_texts(row: Row) -> str:
    return str(row.data["label"])


def text_problem(row: Row) -> str | None:
    """Why the texts of a row cannot be used."""
    if not row.data["text"].strip():
        return "an empty text"
    return None
