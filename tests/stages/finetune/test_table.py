"""Purpose x method x base: every cell really trains, saves, and loads in a process where ptft cannot be imported, with the same outputs.

Cells that make no sense end with a clear error. The table in docs/finetune.md is made here:
`python tests/stages/finetune/test_table.py` writes it, and a test holds the page to it.
"""

from __future__ import annotations

import json
import re
import tempfile
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from finetuning import inputs, make_folder, rows_file, without_ptft

from ptft.core.contracts import Output
from ptft.core.errors import PtftError
from ptft.core.knobs import Hardware
from ptft.core.progress import Silent
from ptft.stages.finetune import learning
from ptft.stages.finetune.domain import run as domain
from ptft.stages.finetune.instruction import run as instruction
from ptft.stages.finetune.recipe import DomainRecipe, InstructionRecipe, Method, Prompt, TaskRecipe
from ptft.stages.finetune.task import run as task

METHODS = typing.get_args(Method)
BASES = {"causal": "causal", "masked": "masked", "seq2seq": "encoder-decoder"}
PAGE = Path(__file__).parents[3] / "docs" / "finetune.md"
COMMON: dict[str, Any] = {"batch_size": 4, "hardware": Hardware(micro_batch=4), "max_seq_len": 32, "save_every": 100}
TASK = {"task": "classification"}
# purpose -> (stage, recipe, knobs, rows)
PURPOSES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "domain": (domain, DomainRecipe, {"epochs": 4, "max_seq_len": 16, "val": 0.1}, "text"),
    "instruction": (instruction, InstructionRecipe, {"epochs": 6}, "chat"),
    "task: classification": (task, TaskRecipe, {"epochs": 4}, "task"),
    "task: text-to-text": (task, TaskRecipe, {"epochs": 6}, "pairs"),
}
# cells that end with an error, and a word that it has: everything else is trained
REFUSED = {
    ("domain", "seq2seq"): dict.fromkeys(METHODS, "pretrain"),
    ("domain", "masked"): dict.fromkeys(("prompt", "prefix", "p-tuning"), "masked"),
    ("instruction", "masked"): dict.fromkeys(METHODS, "masked"),
    ("instruction", "seq2seq"): dict.fromkeys(METHODS, "text-to-text"),
    ("task: classification", "seq2seq"): dict.fromkeys(("prompt", "prefix", "p-tuning"), "virtual tokens"),
    ("task: text-to-text", "masked"): dict.fromkeys(METHODS, "masked"),
}
CELLS = [(purpose, base, method) for purpose in PURPOSES for base in BASES for method in METHODS]
RATES = {
    "full": 3e-3,
    "partial": 1e-2,
    "prompt": 0.1,
    "prefix": 0.1,
    "p-tuning": 3e-2,
    "ia3": 0.1,
}  # that move tiny models


@dataclass(frozen=True)
class Cell:
    """What a fresh process needs to load a result, and the outputs it must find."""

    folder: str
    auto: str
    ids: list[int]
    decoder: bool
    expected: list[float]


def make(root: Path) -> Path:
    make_folder(root)
    tiny.seq2seq(root / "seq2seq")
    pairs = [{"source": f"say {n % 3}", "target": "你好" * (n % 3 + 1)} for n in range(12)]
    rows_file(root / "pairs.jsonl", pairs)
    return root


def outputs(root: Path) -> Output:
    folder = Path(tempfile.mkdtemp(dir=root))
    for name in ("new", "state"):
        (folder / name).mkdir()
    return Output(folder / "final", folder / "new", folder / "state")


def trained(root: Path, purpose: str, base: str, method: str, captured: list[Any]) -> tuple[Any, Output]:
    stage, kind, knobs, rows = PURPOSES[purpose]
    recipe = kind(method=method, lr=RATES.get(method, 1e-2), **{**COMMON, **knobs})
    if method in ("prompt", "prefix", "p-tuning"):
        recipe = replace(recipe, prompt=Prompt(tokens=4))
    out = outputs(root)
    out.final.mkdir()
    return stage.run(recipe, inputs(root / base, root / f"{rows}.jsonl"), out, Silent()), out


def falling(metrics: dict[str, float], folder: Path) -> tuple[float, float]:
    """The loss on what is held out, before and after, or else the mean of the first and of the last three steps."""
    if "eval_loss_before" in metrics:
        return metrics["eval_loss_before"], metrics["eval_loss_after"]
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open() if '"loss"' in line]
    return sum(losses[:3]), sum(losses[-3:])


AUTO = {
    "causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "seq2seq": "AutoModelForSeq2SeqLM",
    "classifier": "AutoModelForSequenceClassification",
}  # fmt: skip
IDS = [5, 6, 7, 8, 0]  # T5's classifier reads the end-of-text token


def capture(model: Any, kind: str) -> list[float]:
    """What the trained model says before it is saved."""
    model.eval()
    given = {"input_ids": torch.tensor([IDS]), "attention_mask": torch.ones(1, len(IDS), dtype=torch.long)}
    if kind == "seq2seq":
        given["decoder_input_ids"] = torch.tensor([[1, 5]])
    with torch.no_grad():
        return model(**given).logits.flatten()[-8:].tolist()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str], Cell]:
    return {}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What trained models put out just before they were saved, with their kinds."""
    kept: list[Any] = []
    save = learning.methods.save

    def watched(prepared: Any, model: Any, *rest: Any) -> Any:
        kept.append((prepared.kind, capture(model, prepared.kind)))
        return save(prepared, model, *rest)

    monkeypatch.setattr(learning.methods, "save", watched)
    return kept


@pytest.mark.parametrize(("purpose", "base", "method"), CELLS, ids=lambda value: value.replace(" ", ""))
def test_cell(root, found, said, purpose, base, method):
    word = REFUSED.get((purpose, base), {}).get(method)
    if word:
        with pytest.raises(PtftError) as error:
            trained(root, purpose, base, method, said)
        assert word in f"{error.value} {error.value.remedy}"
        return
    result, out = trained(root, purpose, base, method, said)
    before, after = falling(result.metrics, out.new)
    assert after < before
    assert 0 < result.counts["trainable"] <= result.counts["parameters"]
    assert method in ("full", "partial") or result.counts["trainable"] < result.counts["parameters"] / 2
    kind, expected = said[-1]
    found[purpose, base, method] = Cell(str(out.new), AUTO[kind], IDS, kind == "seq2seq", expected)


LOAD = """
import os, sys
import transformers
from peft import PeftModel

def load(folder, auto):
    auto = getattr(transformers, auto)
    if not os.path.exists(folder + "/adapter_config.json"):
        return auto.from_pretrained(folder, trust_remote_code=True)
    named = json.load(open(folder + "/adapter_config.json"))["base_model_name_or_path"]
    base = folder + "/base" if os.path.isdir(folder + "/base") else named
    more = {}
    if os.path.exists(folder + "/quantization.json"):
        more["quantization_config"] = transformers.BitsAndBytesConfig(**json.load(open(folder + "/quantization.json")))
    if os.path.exists(folder + "/modeling_bottleneck.py") and "modeling_bottleneck" not in sys.modules:
        sys.path.insert(0, folder)
        import modeling_bottleneck
    model = auto.from_pretrained(base, trust_remote_code=True, **more)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # bitsandbytes would evaluate in bfloat16 on some CPUs
    return PeftModel.from_pretrained(model, folder)

said = []
for folder, auto, ids, decoder in CELLS:
    given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if decoder:
        given["decoder_input_ids"] = torch.tensor([[1, 5]])
    with torch.no_grad():
        said.append(load(folder, auto).eval()(**given).logits.flatten()[-8:].tolist())
print(json.dumps(said))
"""


def test_every_trained_cell_loads_without_ptft_and_says_the_same(found):
    if not found:
        pytest.skip("no cell was trained: run the whole file")
    cells = [(cell.folder, cell.auto, cell.ids, cell.decoder) for cell in found.values()]
    said = without_ptft(f"CELLS = {cells!r}\n{LOAD}")
    for name, cell, now in zip(found, found.values(), said, strict=True):
        assert now == pytest.approx(cell.expected, abs=1e-5), name


def table() -> str:
    """The table as docs/finetune.md has it."""
    lines = [f"| purpose | base | {' | '.join(METHODS)} |", f"|---|---|{'---|' * len(METHODS)}"]
    for purpose in PURPOSES:
        for base, shown in BASES.items():
            refused = REFUSED.get((purpose, base), {})
            if len(refused) < len(METHODS):
                lines.append(f"| {purpose} | {shown} | {' | '.join('-' if m in refused else '✓' for m in METHODS)} |")
    return "\n".join(lines)


@pytest.mark.parametrize("page", [PAGE, PAGE.with_suffix(".zh.md")], ids=lambda page: page.name)
def test_the_page_has_this_table(page):
    assert table() in page.read_text(encoding="utf-8")


if __name__ == "__main__":
    for page in (PAGE, PAGE.with_suffix(".zh.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(
            re.sub(r"(?s)(<!-- table -->\n).*?(<!-- /table -->)", rf"\1{table()}\n\2", text), encoding="utf-8"
        )
