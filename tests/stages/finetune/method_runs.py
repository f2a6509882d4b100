"""A purpose small enough to try every method on: rows of random ids, a head or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch

from ptft.core import models
from ptft.core.contracts import Output
from ptft.core.heads import Head, with_head
from ptft.core.knobs import Hardware
from ptft.core.training import Objective, Padding, Rows
from ptft.core.training.heads import with_loss
from ptft.stages.finetune import methods
from ptft.stages.finetune.purpose import Prepared
from ptft.stages.finetune.recipe import Lora, Prompt, TaskRecipe

HEADS = {
    "classifier": Head("classifier", tiny.LABELS), "tagger": Head("tagger", tiny.LABELS), "span": Head("span"),
}  # fmt: skip
IDS = torch.randint(5, 390, (8, 10), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[1, 7:] = 0
OBJECTIVES = {"classifier": "class", "tagger": "tags", "span": "span"}


@dataclass(frozen=True, kw_only=True)
class Toy(Prepared):
    """longer: tokens that the base's vocabulary did not have."""

    longer: int = 0

    @property
    def changes_base(self) -> bool:
        return self.kind in HEADS or bool(self.longer)

    @property
    def new_token_ids(self) -> tuple[int, ...]:
        return tuple(range(400, 400 + self.longer))

    @property
    def objective(self) -> Objective:
        return Objective(OBJECTIVES.get(self.kind, "tokens"))

    def new_model(self, dtype: str = "float32") -> Any:
        torch.manual_seed(0)
        if self.kind in HEADS:
            return with_head(self.base, HEADS[self.kind], dtype=dtype)
        model = super().new_model(dtype)
        if self.longer:
            model.resize_token_embeddings(400 + self.longer, mean_resizing=False)
        return model

    def labels(self) -> torch.Tensor:
        if self.kind == "classifier":
            return torch.arange(8) % 3
        if self.kind == "span":
            return torch.stack([torch.arange(8) % 4, torch.arange(8) % 4 + 2], dim=1)
        labels = torch.where(MASK == 1, IDS % 3 if self.kind == "tagger" else IDS, -100)
        labels[:, :2] = -100
        return labels

    def source(self) -> Rows:
        by_token = self.kind not in ("classifier", "span")
        rows = [{"input_ids": ids.tolist()} for ids in IDS]
        if by_token:
            rows = [{**row, "labels": labels.tolist()} for row, labels in zip(rows, self.labels(), strict=True)]
        return Rows.of(rows, None if by_token else self.labels().tolist())

    def collate(self) -> Padding:
        return Padding(1, self.kind not in ("classifier", "span"))

    @property
    def held_out(self) -> int:
        return 0

    def measure(self, model: Any) -> dict[str, float]:
        return {}


def toy(base: Path, method: str, longer: int = 0, kind: Any = None, **knobs: Any) -> Toy:
    """The method on a tiny base. kind: of the result (None: the base's)."""
    settings = {"lora": Lora(rank=4), "prompt": Prompt(tokens=4), "lr": 1e-2, "batch_size": 4, "seed": 1, **knobs}
    settings.setdefault("hardware", Hardware(micro_batch=2))
    kind = kind or models.kind_of(models.load_config(base))
    return Toy(
        recipe=TaskRecipe(method=method, **settings), base=base, tokenizer=base, kind=kind, length=16, rows=8, counts={},
        longer=longer,
    )  # fmt: skip


def loss_of(prepared: Toy, model: Any) -> torch.Tensor:
    batch = {"input_ids": IDS, "attention_mask": MASK}
    if prepared.objective.name == "tokens":
        with with_loss(model, chunked=True):
            return model(**batch, labels=prepared.labels()).loss
    return prepared.objective.summed(model(**batch), prepared.labels())


def learn(prepared: Toy, model: Any, steps: int = 3) -> list[float]:
    """Some steps of AdamW on what is trainable; the loss before each, without dropout."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = loss_of(prepared, model.eval())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


@torch.no_grad()
def answers(model: Any, kind: str) -> torch.Tensor:
    """What a model answers to the rows, padding left out."""
    batch = {"input_ids": IDS, "attention_mask": MASK}
    if kind == "seq2seq":
        batch["decoder_input_ids"] = IDS[:, :5]
    outputs = model.eval()(**batch)
    found = outputs.start_logits if kind == "span" else outputs.logits
    return found[MASK.bool()] if found.shape[:2] == MASK.shape else found


def finished(prepared: Toy, out: Output, steps: int = 3, precision: Any = "fp32") -> tuple[Any, list[float]]:
    """Attached, learnt, saved: the model and its losses."""
    model = methods.attach(prepared, precision, out.state)
    losses = learn(prepared, model, steps)
    methods.save(prepared, model, models.load_tokenizer(prepared.tokenizer), out)
    return model, losses
