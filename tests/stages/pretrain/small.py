"""A small corpus and a recipe that trains on it in a second, for the tests of `ptft pretrain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny

from ptft.core.contracts import Inputs, Output
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.pretrain.recipe import Architecture, PretrainRecipe
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.run import run as make_tokenizer

RECIPE = PretrainRecipe(
    tokens=4096, batch_tokens=512, seq_len=32, lr=5e-3, architecture=Architecture(layers=1, width=32),
    save_every=3, eval_every=4, val=0.1, keep="last",
)  # fmt: skip


def corpus(folder: Path, rows: int = 120) -> Path:
    path = folder / "in.jsonl"
    texts = [" ".join(tiny.TEXTS[(n + k) % 4] for k in range(1 + n % 3)) for n in range(rows)]
    lines = [json.dumps({"id": f"d{n}", "text": text}, ensure_ascii=False) for n, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def inputs_in(folder: Path) -> Inputs:
    """A corpus of 120 rows and a tokenizer made by `ptft tokenizer`, with [CLS], [SEP] and [MASK]."""
    data = Inputs({"data": expand([str(corpus(folder))])})
    made = Output(folder / "tok", folder / "tok", folder / "tok-state")
    made.new.mkdir()
    made.state.mkdir()
    make_tokenizer(TokenizerRecipe(vocab_size=512, reserved=0, pad_to=1), data, made, Silent())
    return Inputs(data.rows, {"tokenizer": folder / "tok"})


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
