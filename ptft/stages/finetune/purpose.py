"""What domain, instruction and task have in common: data made ready once, then learnt from in every process alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.models import Kind
from ptft.core.progress import Progress
from ptft.core.training.data import Example, Source
from ptft.core.training.isolation import BY_POSITIONS
from ptft.core.training.objectives import Objective
from ptft.core.training.rows import Flat, Padding
from ptft.stages.finetune.recipe import FinetuneRecipe

Collate = Callable[[Sequence[Example]], dict[str, Any]]


@dataclass(frozen=True)
class Better:
    """The figure of a validation that tells which weights are the best."""

    name: str = "val_loss"
    higher: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared(ABC):
    """Data ready to be learnt from. Small and picklable: rows lie in files, so that every process of a run can open them.

    base: a plain checkpoint folder. tokenizer: the result's. kind: what the result will be. length: tokens a row at most.
    rows: to learn from. counts: for the run record.
    """

    recipe: FinetuneRecipe
    base: Path
    tokenizer: Path
    kind: Kind
    length: int
    rows: int
    counts: dict[str, Any]

    @property
    def batch(self) -> int:
        """Examples of `source` an optimizer step."""
        return self.recipe.batch_size

    @property
    def unit(self) -> str:
        """What an example of `source` is, in the plural."""
        return "rows"

    @property
    def objective(self) -> Objective:
        return Objective("tokens")

    @property
    def better(self) -> Better:
        return Better()

    @property
    def changes_base(self) -> bool:
        """Whether an adapter is on something else than the base's folder: a head, or a longer vocabulary."""
        return False

    @property
    def new_token_ids(self) -> tuple[int, ...]:
        """Tokens that the base's vocabulary did not have; their embeddings must learn, whatever the method."""
        return ()

    def new_model(self, dtype: str = "float32") -> Any:
        """The base as it is before training, with what this purpose puts on it; the same each time."""
        return models.load_plain(self.base, dtype)[0]

    @abstractmethod
    def source(self) -> Source:
        """The training examples."""

    @abstractmethod
    def collate(self) -> Collate:
        """Makes a batch of examples."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """How many examples there are to measure on."""

    @abstractmethod
    def measure(self, model: Any) -> dict[str, float]:
        """Figures of a model on what is held out, "val_loss" among them. In a group, every process calls it."""

    def measure_before(self, model: Any) -> dict[str, float]:
        """The same figures of the base. model: not trained yet."""
        return self.measure(model)

    @property
    def measures_before(self) -> bool:
        """Whether the figures are wanted from before training too."""
        return False

    def finish(self, model: Any) -> None:  # noqa: B027 - most have none
        """The last touch before the model is saved."""

    def show(self, progress: Progress) -> None:  # noqa: B027 - most have nothing
        """What a person should see before training."""


def pad_id(tokenizer: Any) -> int:
    """What to pad with; the mask says what is padding, so any token will do where a tokenizer names none."""
    return int(next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0))


def rows_collate(prepared: Prepared) -> Flat | Padding:
    """Batches of rows of unequal length for a language model: without padding, where the family keeps rows apart by positions.

    Virtual tokens stand before each row of a batch, so rows that have them are padded.
    """
    virtual = prepared.recipe.method in ("prompt", "prefix", "p-tuning")
    if prepared.kind == "causal" and models.load_config(prepared.base).model_type in BY_POSITIONS and not virtual:
        return Flat()
    return Padding(pad_id(models.load_tokenizer(prepared.tokenizer)))
