"""`ptft finetune merge`: an adapter folded into its base, in full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptft.core import adapters, models
from ptft.core.contracts import CHECKPOINT, Inputs, Output, Plan, Result
from ptft.core.errors import InputError
from ptft.core.models import Kind
from ptft.core.progress import Progress
from ptft.core.weights import tensors
from ptft.stages.finetune.recipe import MergeRecipe

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
ROWS, TOKENS = 2, 16  # of the ids that the model is compared on before and after


def run(recipe: MergeRecipe, inputs: Inputs, out: Output, progress: Progress) -> Result:
    """The whole model in `out.new`, with the adapter's tokenizer.

    Metrics: the largest difference of a logit between the adapter on its base and the merged model, both in float32; of one
    trained on 4 bits, also from that, where bitsandbytes is there.
    """
    import torch

    folder = _adapter(inputs)
    with models.readable(folder):
        model, kind = adapters.load(folder, "float32", quantised=False)
        tokenizer = models.load_tokenizer(folder)
    model = model.eval().to(models.device())
    before = _logits(model, kind)
    whole = adapters.folded(model).eval()
    metrics = {"largest_difference": _difference(before, _logits(whole, kind))}
    if (folder / adapters.QUANTISATION).is_file():
        metrics |= _from_quantised(folder, before, progress)
    parameters, _ = models.count_parameters(whole)
    models.save(whole.to(getattr(torch, DTYPES[recipe.precision])), tokenizer, out.new)
    return Result({"parameters": parameters}, metrics)


def plan(recipe: MergeRecipe, inputs: Inputs, progress: Progress) -> Plan:
    folder = _adapter(inputs)
    settings, base = adapters.settings_of(folder), adapters.base_folder(folder)
    parameters = sum(tensor.count for tensor in tensors(base))
    lines = (
        ("adapter", f"{str(settings.get('peft_type')).lower()}, {sum(t.count for t in tensors(folder)):,} parameters"),
        ("base", str(base)), ("parameters", parameters), ("stored as", recipe.precision),
        ("size", f"{parameters * BYTES[recipe.precision] / 2**20:,.1f} MiB"),
    )  # fmt: skip
    return Plan(lines)


def _adapter(inputs: Inputs) -> Path:
    folder = CHECKPOINT.require(inputs.folders["model"])
    if not adapters.is_adapter(folder):
        what = f"this is no adapter: it has no {adapters.ADAPTER}"
        raise InputError(what, where=str(folder), remedy="use the folder as it is: it is a whole model already")
    adapters.refuse_unmergeable(folder)
    adapters.base_folder(folder)
    return folder


def _from_quantised(folder: Path, merged: Any, progress: Progress) -> dict[str, float]:
    """How far the base in 4 bits, on which the adapter was trained, is from the full one that it is merged into."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        progress.warn("not compared with the 4-bit base: bitsandbytes is not installed (pip install 'ptft[qlora]')")
        return {}
    model, kind = adapters.load(folder, "float32")
    return {"largest_difference_from_4bit": _difference(merged, _logits(model.eval().to(models.device()), kind))}


def _logits(model: Any, kind: Kind) -> Any:
    """The model's answers to some ids, float32: the same ids each time."""
    import torch

    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = torch.randint(vocabulary, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0)).to(model.device)
    eos = model.config.get_text_config().eos_token_id
    if kind in models.HEADED and isinstance(eos, int):
        ids[ids == eos] = (eos + 1) % vocabulary
        ids[:, -1] = eos  # BART's and T5's classifiers read the last end of text
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if kind == "seq2seq":
        batch["decoder_input_ids"] = ids
    with torch.inference_mode():
        outputs = model(**batch)
    return (outputs.start_logits if kind == "span" else outputs.logits).float()


def _difference(before: Any, after: Any) -> float:
    return float((before - after).abs().max())
