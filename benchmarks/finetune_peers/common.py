"""What the peers' scripts share. Each gets one argument, JSON: the fields of `finetuning.trainers.Task`, and `out`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

IGNORED = -100


def options() -> dict[str, Any]:
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def encoded(tokenizer: Any, messages: list[dict[str, str]]) -> dict[str, list[int]]:
    """input_ids, and labels that are the ids of what the assistant says and `IGNORED` elsewhere."""
    made = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(made["input_ids"], made["assistant_masks"], strict=True)
    return {"input_ids": list(made["input_ids"]), "labels": [token if said else IGNORED for token, said in pairs]}


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """transformers' TrainingArguments, which TRL's have too: the rows in the order of the file, no checkpoints on the way."""
    half = given["precision"] == "bf16"
    return {
        "output_dir": given["out"], "max_steps": given["steps"], "per_device_train_batch_size": given["micro"],
        "gradient_accumulation_steps": given["batch"] // given["micro"], "learning_rate": given["lr"],
        "lr_scheduler_type": "cosine", "weight_decay": given["decay"], "max_grad_norm": given["clip"], "bf16": half,
        "train_sampling_strategy": "sequential", "save_strategy": "no", "report_to": "none", "logging_steps": 1,
        "seed": given["seed"], "gradient_checkpointing": False, "use_cpu": given["device"] == "cpu",
    }  # fmt: skip


def adapter(given: dict[str, Any]) -> Any:
    """LoRA on all linear layers but the output, or None."""
    from peft import LoraConfig

    if given["method"] == "full":
        return None
    return LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def finish(trainer: Any, tokenizer: Any, given: dict[str, Any]) -> None:
    """Train, save, and leave the losses of all steps in losses.json."""
    trainer.train()
    trainer.save_model(given["out"])
    tokenizer.save_pretrained(given["out"])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    (Path(given["out"]) / "losses.json").write_text(json.dumps(losses))
