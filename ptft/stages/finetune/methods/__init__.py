"""Ways to train: all weights, some of them, or few new ones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.contracts import Output
from ptft.stages.finetune.purpose import Prepared

FULL_FACTOR = 0.1  # of the rate for training from scratch
LORA_FACTOR = 10.0


def attach(prepared: Prepared, precision: str, state: Path) -> Any:
    """The model with the method on it: what is to be trained requires gradients, and nothing else does."""
    import transformers

    recipe = prepared.recipe
    transformers.set_seed(recipe.seed)
    model = prepared.new_model()
    if recipe.method == "full":
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    task = {"causal": TaskType.CAUSAL_LM, "classifier": TaskType.SEQ_CLS}.get(prepared.kind)
    config = LoraConfig(
        r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, lora_dropout=recipe.lora.dropout, target_modules="all-linear",
        task_type=task,
    )  # fmt: skip
    model.name_or_path = str(prepared.base.resolve())
    model.config._name_or_path = model.name_or_path
    return get_peft_model(model, config)


def default_lr(method: str, model: Any) -> float:
    """A peak learning rate that suits the method, from the model's width."""
    return models.default_lr(model) * FULL_FACTOR * (LORA_FACTOR if method == "lora" else 1.0)


def save(prepared: Prepared, model: Any, tokenizer: Any, out: Output) -> None:
    """A checkpoint folder, or an adapter folder that names its base (or has it inside: a head, new tokens)."""
    models.save(model, tokenizer, out.new)
    (out.new / "README.md").unlink(missing_ok=True)  # peft's empty model card
    if (out.new / "adapter_config.json").exists():
        changes = {}
        if prepared.changes_base:
            models.save(prepared.new_model(), tokenizer, out.new / models.HEAD_BASE)
            changes = {"base_model_name_or_path": models.HEAD_BASE}
        _edit_adapter(out.new / "adapter_config.json", **changes)


def _edit_adapter(path: Path, **changes: Any) -> None:
    """peft writes sets in whatever order they come: the same adapter would be other bytes each time."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    for name in ("target_modules", "modules_to_save"):
        if isinstance(data.get(name), list):
            data[name] = sorted(data[name])
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
