"""The knobs of `ptft split`."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.core.contracts import CORPUS, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class SplitRecipe(Recipe):
    val: float = knob(0.1, "share of rows for validation", flag="--val", low=0, below=1)
    test: float = knob(0.1, "share of rows for testing", flag="--test", low=0, below=1)
    stratify: str = knob("", "a field whose values are split in equal shares, e.g. label", flag="--stratify")
    threshold: float = knob(
        0.7, "rows at least this similar (Jaccard) stay on one side", flag="--threshold", above=0, high=1
    )
    shingle: int = knob(5, "words (or Han characters) in a shingle", low=1)
    permutations: int = knob(128, "MinHash permutations", low=16)
    block_rows: int = knob(
        2000, "rows a unit of work; an interrupted run goes on at the last whole one", low=1, identity=False
    )
    workers: int = knob(0, "processes (0: one a core)", flag="--workers", low=0, identity=False)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        if self.val + self.test >= 1:
            return [f"val + test = {self.val + self.test:g}: nothing is left to train on"]
        return []


STAGE = Stage(
    name="split",
    help="A corpus or examples to train, val and test. Near-duplicates never land on different sides.",
    recipe=SplitRecipe,
    module="ptft.stages.split.run",
    arguments=(Argument("data", "INPUT...", "files, folders, globs, '-' or hf:NAME", "rows"),),
    makes=CORPUS,
)
