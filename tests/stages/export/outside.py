"""Loads exports as a user without ptft does, and says whether they answer as their export.json claims.

    python outside.py FOLDER... -> a JSON object on the last line: folder -> {"first": bool, "logit": largest difference}

Written apart from ptft's own verification, with the runtimes' plainest calls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.modules["ptft"] = None  # type: ignore[assignment]  # any import of it fails


def main() -> None:
    found = {folder: compared(Path(folder)) for folder in sys.argv[1:]}
    print(json.dumps(found))


def compared(folder: Path) -> dict[str, Any]:
    report = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    answer = {"onnx": by_onnx, "gguf": by_gguf}.get(report["format"], by_torch)(folder, report)
    first, worst = True, 0.0
    for claim in report["claims"].values():
        logits = answer(claim["ids"])
        first &= logits.argmax(-1).tolist() == claim["first_choices"]
        worst = max(worst, *(abs(float(logits[-1][index]) - value) for index, value in claim["logits"]))
    return {"first": first, "logit": worst}


def by_torch(folder: Path, report: dict[str, Any], **more: Any) -> Any:
    import torch
    import transformers

    name = next(line.split()[-1] for line in report["load"].splitlines() if "import Auto" in line) if not more else ""
    model = getattr(transformers, name or "AutoModelForCausalLM").from_pretrained(folder, **more).eval()

    def answer(ids: list[int]) -> np.ndarray:
        with torch.inference_mode():
            return np.atleast_2d(model(input_ids=torch.tensor([ids])).logits[0].float().numpy())

    return answer


def by_gguf(folder: Path, report: dict[str, Any]) -> Any:
    return by_torch(folder, report, gguf_file="model.gguf")


def by_onnx(folder: Path, report: dict[str, Any]) -> Any:
    """By the lines that export.json gives, with a claim's ids in the place of a text's."""
    lines = report["load"].replace("DIR", str(folder))
    assert lines.count('tokenizer("text")["input_ids"]') == 1

    def answer(ids: list[int]) -> np.ndarray:
        names: dict[str, Any] = {"ids_given": ids}
        exec(lines.replace('tokenizer("text")["input_ids"]', "ids_given"), names)
        return np.atleast_2d(names["outputs"][0][0]).astype(np.float32)

    return answer


if __name__ == "__main__":
    main()
