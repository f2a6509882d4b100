"""The knobs of `ptft pack`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import TOKENS, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class PackRecipe(Recipe):
    tokenizer: str = knob("", "a tokenizer folder", flag="--tokenizer/-t", path="folder")
    seq_len: int = knob(1024, "tokens in a training sequence", flag="--seq-len", low=8)
    packing: Literal["concat", "best-fit"] = knob(
        "concat",
        "how sequences are filled: concat (one stream, cut anywhere) or best-fit (documents whole where they fit)",
        flag="--packing",
    )
    val: float = knob(0.0, "share of documents kept for validation", flag="--val", low=0, below=1)
    workers: int = knob(0, "processes (0: one a core)", flag="--workers", low=0, identity=False)
    shard_tokens: int = knob(100_000_000, "most tokens in one file", low=1000)
    block_rows: int = knob(20_000, "documents a unit of work, of 4 million characters at most", low=1, identity=False)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        return [] if self.tokenizer else ["tokenizer: name a tokenizer folder with -t"]


STAGE = Stage(
    name="pack",
    help="A corpus to token files, ready to train on. They are memory-mapped and keep document boundaries.",
    recipe=PackRecipe,
    module="ptft.stages.pack.run",
    arguments=(
        Argument(
            "data",
            "INPUT...",
            "a corpus: files, folders, globs, '-' or hf:NAME; token folders are added to",
            "rows",
        ),
    ),
    makes=TOKENS,
)
