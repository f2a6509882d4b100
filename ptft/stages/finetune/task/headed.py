"""What the tasks that put a new head on the base have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core.heads import Head, with_head
from ptft.core.training import Rows
from ptft.stages.finetune.purpose import Better, Prepared
from ptft.stages.finetune.recipe import TaskRecipe


@dataclass(frozen=True, kw_only=True)
class Headed(Prepared):
    """A head over the base. train: a folder of `Rows`; val: what is measured on. judged_by: what tells the best weights."""

    recipe: TaskRecipe
    head: Head
    train: Path
    val: Path
    judged_by: Better

    @property
    def better(self) -> Better:
        return self.judged_by

    @property
    def changes_base(self) -> bool:
        return True

    def new_model(self, dtype: str = "float32") -> Any:
        import transformers

        transformers.set_seed(self.recipe.seed)
        return with_head(self.base, self.head, scratch=self.recipe.init == "scratch", dtype=dtype)

    def source(self) -> Rows:
        return Rows.load(self.train)

    @property
    def held_out(self) -> int:
        return len(Rows.load(self.val))
