"""Scheme x format x model: each is made, loads in a process where ptft cannot be imported, and answers as its export.json claims.

The table in docs/export.md and its Chinese twin is made here: `python tests/stages/export/test_export_table.py` writes it, and a test holds the pages to it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import export_runs
import pytest
import tiny

from ptft.stages.export.asked import asked_of
from ptft.stages.export.formats.held import FORMATS
from ptft.stages.export.recipe import ExportRecipe, FormatName

PAGES = [Path(__file__).parents[3] / "docs" / name for name in ("export.md", "export.zh.md")]
SCHEMES = (
    "int8", "int8-dynamic", "int8-static", "int4-rtn", "int4-hqq", "int4-gptq", "int4-awq", "mixed", "fp16", "bf16", "fp32"
)  # fmt: skip
MODELS = ("causal Llama", "BERT classifier", "merged LoRA")
RECIPE: dict[str, Any] = {"calibration": "rows", "bits_per_weight": 5.0}
# the arithmetic inside blocks of these is integer or half, and its order is the runtime's own
FURTHEST = {
    "fp32": 1e-6,
    "fp16": 1e-4,
    "bf16": 1e-3,
    "int8": 2e-3,
    "mixed": 0.02,
    "int4": 0.03,
}  # nats from the original
CLOSE = {"fp16": 2e-2, "bf16": 2e-2}


def held(scheme: str, name: FormatName, model: str) -> bool:
    if name == "gguf" and model == "BERT classifier":
        return False
    return not FORMATS[name].lacks(asked_of(scheme), ExportRecipe(**RECIPE))


def cells(model: str) -> list[str]:
    return [f"{scheme}-{name}" for scheme in SCHEMES for name in FORMATS if held(scheme, name, model)]


def made(folder: Path, model: str) -> Path:
    if model == "BERT classifier":
        checkpoint, labels = tiny.bert_classifier(folder / "model"), tiny.LABELS
    else:
        checkpoint, labels = export_runs.causal(folder / "model", tie_word_embeddings=model == "causal Llama"), ()
    if model == "merged LoRA":
        checkpoint = export_runs.lora(folder / "adapter", checkpoint)
    rows = export_runs.rows_file(folder / "rows.jsonl", export_runs.HELD_OUT, labels)
    seen = export_runs.rows_file(folder / "seen.jsonl", export_runs.SEEN)
    formats = tuple(name for name in FORMATS if model != "BERT classifier" or name != "gguf")
    schemes = tuple(scheme for scheme in SCHEMES if any(held(scheme, name, model) for name in FORMATS))
    recipe = {"to": schemes, "format": formats, "bits_per_weight": 5.0, "calibration_rows": 8, "calibration_length": 32}
    _, new, _ = export_runs.exported(folder, checkpoint, rows, seen, **recipe)
    return new


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_cell_loads_without_ptft_and_answers_as_claimed(model: str, tmp_path: Path) -> None:
    if model == "BERT classifier":
        pytest.importorskip("compressed_tensors", reason="pip install 'ptft[compressed]'")
    new = made(tmp_path, model)
    listed = export_runs.report_of(new)["exports"]
    assert list(listed) == cells(model)
    script = Path(__file__).with_name("outside.py")
    ran = subprocess.run(
        [sys.executable, script, *(str(new / name) for name in listed)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    for name in listed:
        outside, report = found[str(new / name)], export_runs.report_of(new / name)
        assert outside["first"], name
        assert outside["logit"] < CLOSE.get(report["to"], 2e-3), (name, outside)
        check_report(name, report)


def check_report(name: str, report: Any) -> None:
    """What holds of every export's own account."""
    after, expected = report["bytes"]["after"]["total"], report["bytes"]["expected"]["total"]
    assert abs(after / expected - 1) < 0.05, (name, after, expected)
    assert report["verify"]["rows"] == len(export_runs.HELD_OUT)
    assert report["verify"]["kl"] < FURTHEST[report["to"].split("-")[0]], (name, report["verify"]["kl"])
    if report["plan"]:
        assert report["bytes"]["after"]["linear"] < 0.5 * report["bytes"]["before"]["linear"], name
        assert report["verify"]["max_logit_error"] > 0, "nothing was quantised"


def table() -> str:
    lines = ["| scheme | " + " | ".join(FORMATS) + " |", "|---" * (1 + len(FORMATS)) + "|"]
    for scheme in SCHEMES:
        marks = []
        for name in FORMATS:
            kinds = [held(scheme, name, model) for model in MODELS]
            marks.append("✓" if all(kinds) else "causal" if any(kinds) else "-")
        lines.append(f"| `{scheme}` | " + " | ".join(marks) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_has_the_table(page: Path) -> None:
    shown = re.search(r"<!-- table -->\n(.*?)<!-- /table -->", page.read_text(encoding="utf-8"), re.DOTALL)
    assert shown and _cells(shown[1]) == _cells(table())


def _cells(shown: str) -> list[list[str]]:
    """Of the rows below the heading, whose words are each language's own; so are those for "causal"."""
    lines = [[cell.strip() for cell in line.split("|")] for line in shown.strip().splitlines()[2:]]
    return [[*line[:2], *("causal" if cell not in ("✓", "-", "") else cell for cell in line[2:])] for line in lines]


def test_formats_are_those_that_the_recipe_names() -> None:
    assert set(FORMATS) == set(typing.get_args(FormatName))


if __name__ == "__main__":
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        changed = re.sub(
            r"(?s)(<!-- table -->\n).*?(<!-- /table -->)", lambda found: f"{found[1]}{table()}\n{found[2]}", text
        )
        page.write_text(changed, encoding="utf-8")
