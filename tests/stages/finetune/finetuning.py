"""What tests of fine-tuning share: tiny bases, rows, inputs, and a process where ptft cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tiny

from ptft.core.contracts import Inputs
from ptft.core.files import expand
from ptft.core.knobs import Hardware
from ptft.stages.finetune.recipe import Lora

SMALL = {"batch_size": 4, "hardware": Hardware(micro_batch=2), "lr": 3e-3, "lora": Lora(rank=4), "save_every": 5}
WORDS = {"business": "shares profits company", "sport": "ball goal team", "科技": "机器 学习 模型"}


def rows_file(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def inputs(base: Path, data: Path, eval_data: Path | None = None) -> Inputs:
    rows = {"data": expand([str(data)])}
    if eval_data:
        rows["eval_data"] = expand([str(eval_data)])
    return Inputs(rows, {"model": base})


def make_folder(made: Path) -> Path:
    """Bases (causal, masked) and rows (task, chat, text) in one folder."""
    tiny.causal(made / "causal", scale=1.0)
    tiny.masked(made / "masked")
    labelled = [{"id": str(n), "text": WORDS[label], "label": label} for n in range(8) for label in WORDS]
    rows_file(made / "task.jsonl", labelled)
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"say {n % 3}"},
                {"role": "assistant", "content": "你好" * (n % 3 + 1)},
            ]
        }
        for n in range(12)
    ]
    rows_file(made / "chat.jsonl", chats)
    rows_file(made / "text.jsonl", [{"id": str(n), "text": tiny.TEXTS[n % 4] * 2} for n in range(40)])
    return made


def without_ptft(code: str) -> list:
    """Run code where ptft cannot be imported; it prints one JSON value last."""
    blocked = "import sys; sys.modules['ptft'] = None\nimport json, torch\n" + code
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
