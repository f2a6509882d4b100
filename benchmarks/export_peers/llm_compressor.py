"""A checkpoint quantised by llm-compressor, as a compressed-tensors folder.

    python llm_compressor.py '{"model": FOLDER, "out": FOLDER, "method": "rtn"|"gptq"|"awq", "bits": 4|8, "group": 0|32|64|128,
                               "activations": "none"|"dynamic", "calibration": WINDOWS.npy, "report": FILE}'

Weights are symmetric, lm_head and embeddings stay as they are: its presets W4A16, W8A16 and W8A8 with a group size of choice.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, memory, options
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer


def scheme(bits: int, group: int, activations: str) -> QuantizationScheme:
    """group 0: a scale for each output channel. dynamic: INT8 activations with a scale for each token."""
    along = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    weights = QuantizationArgs(num_bits=bits, symmetric=True, **along)
    inputs = QuantizationArgs(num_bits=8, symmetric=True, strategy="token", dynamic=True)
    return QuantizationScheme(
        targets=["Linear"], weights=weights, input_activations=inputs if activations == "dynamic" else None
    )


def recipe(method: str, chosen: QuantizationScheme) -> list[Any]:
    """What oneshot() applies, one after the other."""
    given: dict[str, Any] = {"config_groups": {"group_0": chosen}, "ignore": ["lm_head"]}
    if method == "gptq":
        return [GPTQModifier(**given)]
    if method == "rtn":
        return [QuantizationModifier(**given)]
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [AWQModifier(), QuantizationModifier(**given)]


def calibration(path: str) -> Dataset:
    """windows: int32 (rows, tokens)."""
    windows = np.load(path).astype(np.int64)
    return Dataset.from_dict({"input_ids": windows.tolist(), "attention_mask": np.ones_like(windows).tolist()})


def main() -> None:
    given = options()
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(given["model"])
    rows = calibration(given["calibration"])
    settings: dict[str, Any] = {}
    if given["method"] != "rtn":
        length = len(rows[0]["input_ids"])
        settings = {"dataset": rows, "num_calibration_samples": len(rows), "max_seq_length": length}
    started = time.perf_counter()
    chosen = scheme(given["bits"], given["group"], given["activations"])
    oneshot(model=model, tokenizer=tokenizer, recipe=recipe(given["method"], chosen), **settings)
    seconds = time.perf_counter() - started
    model.save_pretrained(given["out"], save_compressed=True)
    tokenizer.save_pretrained(given["out"])
    size = sum(path.stat().st_size for path in Path(given["out"]).glob("*.safetensors"))
    finish(given, {"seconds": seconds, "peak": memory()["peak"], "bytes": size})


if __name__ == "__main__":
    main()
