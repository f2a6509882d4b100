"""What tests of `ptft export` share: models, rows, and running the stage without a terminal."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import tiny

from ptft.core.contracts import Inputs, Output, Result
from ptft.core.files import expand
from ptft.core.progress import Silent
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.run import run

HELD_OUT = (
    "The museum opened a new wing last spring.", "Goals in extra time decided the final.", "新的博物馆上周对公众开放。",
    "球队在加时赛中赢得了比赛。", "Prices of copper fell for a third day.", "铜价连续三天下跌。",
)  # fmt: skip
SEEN = (
    "Rain is expected in the north tomorrow evening.", "The bank raised its rates by a quarter of a point.",
    "明天傍晚北方将有小雨。", "银行把利率提高了零点二五个百分点。", "A striker signed for two more seasons.",
    "前锋续约两个赛季。", "The orchestra plays on Friday.", "乐团将于星期五演出。",
)  # fmt: skip


def rows_file(path: Path, texts: tuple[str, ...], labels: tuple[str, ...] = ()) -> Path:
    """One JSONL file of texts; labels, where given, go round."""
    rows = [{"text": text} | ({"label": labels[at % len(labels)]} if labels else {}) for at, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def exported(
    folder: Path, model: Path, rows: Path | None = None, calibration: Path | None = None, **knobs: Any
) -> tuple[Result, Path, Silent]:
    """The stage's result, its folder of new files, and what it said. Nothing is timed unless `speed` says so."""
    new, state, progress = folder / "new", folder / "state", Silent()
    for made in (new, state):
        made.mkdir(parents=True, exist_ok=True)
    if not (state / "verifying").exists():
        (state / "verifying").symlink_to(_measured(), target_is_directory=True)
    given = {"verify": rows, "calibration": calibration}
    inputs = Inputs({name: expand([str(path)]) for name, path in given.items() if path}, {"model": model})
    recipe = ExportRecipe(**{"speed": False, "calibration": str(calibration or ""), **knobs})
    return run(recipe, inputs, Output(folder, new, state), progress), new, progress


@functools.cache
def _measured() -> Path:
    """What was measured in this test session: kept by the content of model and rows, so that no process runs twice."""
    folder = Path(tempfile.mkdtemp(prefix="ptft-measured-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def report_of(folder: Path) -> Any:
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def causal(folder: Path, **more: Any) -> Path:
    """A Llama whose widths hold groups of 64."""
    return tiny.causal(folder, **{"hidden_size": 64, "intermediate_size": 128, **more})


def lora(folder: Path, base: Path) -> Path:
    """A LoRA adapter with weights that matter."""
    import torch
    from peft import LoraConfig, get_peft_model

    from ptft.core.models import load

    loaded = load(base)
    loaded.model.name_or_path = str(base)
    tuned = get_peft_model(loaded.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    tuned.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder
