"""A tokenizer made by the stage from a few texts, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptft.core.contracts import Inputs, Output, Result
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.tokenizer.recipe import TokenizerRecipe
from ptft.stages.tokenizer.run import run

TEXTS = [
    "The cat sat on the mat, and the dog barked 12345 times.",
    "机器学习模型从文本中学习语言，今天天气很好。",
    "中文 and English 混在一起 don't",
] * 40


def write_rows(path: Path, texts: Sequence[Any]) -> Path:
    rows = [text if isinstance(text, dict) else {"text": text} for text in texts]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def make(files: Sequence[Path], folder: Path, template: Path | None = None, **knobs: Any) -> tuple[Result, Silent]:
    """Run the stage into `folder` in this process; knobs of the recipe."""
    recipe = TokenizerRecipe(**{"vocab_size": 600, "workers": 1, **knobs})
    folder.mkdir(parents=True, exist_ok=True)
    progress = Silent()
    inputs = Inputs({"data": expand(list(map(str, files)))}, {"chat_template": template} if template else {})
    return run(recipe, inputs, Output(folder, folder, folder), progress), progress
