"""The result's folder: a checkpoint, or an adapter that names its base (or has it inside)."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from ptft.core import adapters, models
from ptft.core.contracts import Output
from ptft.stages.finetune.methods.attach import BASE, INITIAL, has_own_base
from ptft.stages.finetune.purpose import Prepared


def save(prepared: Prepared, model: Any, tokenizer: Any, out: Output) -> None:
    """Write the result to `out.new`, the same bytes each time; it loads without ptft.

    A PiSSA adapter is written as the plain LoRA of twice the rank that it equals, for its base is not the one that others have.
    """
    if not hasattr(model, "peft_config"):
        models.save(model, tokenizer, out.new)
        return
    _save_adapter(model, tokenizer, out)
    if getattr(model, "generation_config", None) is not None and prepared.kind in ("causal", "seq2seq"):
        model.generation_config.save_pretrained(out.new)
    _save_what_it_needs(prepared.recipe.method, out)
    changes = {}
    if has_own_base(prepared):
        shutil.copytree(out.state / BASE, out.new / adapters.BASE, dirs_exist_ok=True)
        changes = {"base_model_name_or_path": adapters.BASE}
    _edit(out.new / adapters.ADAPTER, **changes)


def _save_adapter(model: Any, tokenizer: Any, out: Output) -> None:
    if (out.state / INITIAL).exists():
        _save_as_lora(model, out.state / INITIAL, out.new)
    else:
        model.save_pretrained(out.new, save_embedding_layers=False)
    (out.new / "README.md").unlink(missing_ok=True)  # peft's empty model card
    tokenizer.save_pretrained(out.new)


def _save_what_it_needs(method: str, out: Output) -> None:
    """How the base was quantised; the module of a method that peft does not have."""
    if (out.state / adapters.QUANTISATION).exists():
        shutil.copy(out.state / adapters.QUANTISATION, out.new)
    if method == "adapter":
        from ptft.core import modeling_bottleneck

        shutil.copy(str(modeling_bottleneck.__file__), out.new)


def _save_as_lora(model: Any, initial: Path, folder: Path) -> None:
    """What PiSSA learnt, as a LoRA on the untouched base. peft's conversion writes the low-rank parts alone: the rest is added."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    whole = get_peft_model_state_dict(model, save_embedding_layers=False)
    rest = {name: tensor.detach().cpu().contiguous() for name, tensor in whole.items() if ".lora_" not in name}
    with warnings.catch_warnings(action="ignore"):  # peft's, of a second adapter: that is the initial one, for a moment
        model.save_pretrained(
            folder, save_embedding_layers=False, path_initial_model_for_weight_conversion=str(initial)
        )
    path = folder / "adapter_model.safetensors"
    save_file({**load_file(path), **rest}, path, metadata={"format": "pt"})


def _edit(path: Path, **changes: Any) -> None:
    """peft writes sets in whatever order they come: the same adapter would be other bytes each time."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    for name in ("target_modules", "modules_to_save", "feedforward_modules", "exclude_modules"):
        if isinstance(data.get(name), list):
            data[name] = sorted(set(data[name]))
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
