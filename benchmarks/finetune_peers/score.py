"""The loss of a fine-tuned model on held-out responses, by one script for everybody.

    python score.py '{"base": ..., "model": ..., "held": ROWS.jsonl, "report": REPORT.json}'

model: a checkpoint or an adapter folder; base: what an adapter is put on. The report has nll (nats, summed) and tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from common import IGNORED, encoded, options, rows_of
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(base: str, folder: str) -> Any:
    if not (Path(folder) / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    from peft import PeftModel

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), folder).eval()


@torch.no_grad()
def nll(model: Any, row: dict[str, list[int]]) -> tuple[float, int]:
    """(nats, tokens) of one row's labels."""
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"][1:])
    logits = model(input_ids=ids).logits[0, :-1].float()
    total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return float(total), int((labels != IGNORED).sum())


if __name__ == "__main__":
    given = options()
    tokenizer, model = AutoTokenizer.from_pretrained(given["base"]), load(given["base"], given["model"])
    found = [nll(model, encoded(tokenizer, row["messages"])) for row in rows_of(given["held"])]
    report = {"nll": sum(nats for nats, _ in found), "tokens": sum(tokens for _, tokens in found)}
    Path(given["report"]).write_text(json.dumps(report))
