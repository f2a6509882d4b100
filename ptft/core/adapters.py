"""Adapter folders, as peft writes them: where the base is, loading both, folding one into the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptft.core import models
from ptft.core.errors import InputError, UsageError
from ptft.core.models import Kind, Loaded
from ptft.core.weights import tensors

ADAPTER = "adapter_config.json"
BASE = "base"  # inside an adapter's folder: its base, where that is made for it (a head, a longer vocabulary)
QUANTISATION = "quantization.json"  # beside an adapter: how its base was quantised while it was trained
GENERATION = "generation_config.json"
# peft's names of methods that add to the input, or something that is not linear
UNMERGEABLE = {
    "PROMPT_TUNING": "prompt", "PREFIX_TUNING": "prefix", "P_TUNING": "p-tuning", "BOTTLENECK": "adapter",
}  # fmt: skip
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight", "shared.weight")


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER).is_file()


def settings_of(folder: Path) -> dict[str, Any]:
    """What `adapter_config.json` says. Raises `InputError` where it is not JSON."""
    try:
        found = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        remedy = "copy the folder again, or train the adapter again"
        raise InputError("not valid JSON", where=str(folder / ADAPTER), remedy=remedy) from error
    return found if isinstance(found, dict) else {}


def base_folder(folder: Path) -> Path:
    """Where the base of an adapter folder is: inside it, else where its configuration says."""
    if (folder / BASE / "config.json").is_file():
        return folder / BASE
    named = settings_of(folder).get("base_model_name_or_path") or ""
    base = Path(named)
    if not named or not base.is_dir():
        remedy = f"put the base back, or set base_model_name_or_path in {ADAPTER} to where it is now"
        raise InputError(f"the adapter's base {named!r} is not there", where=str(folder), remedy=remedy)
    return base


def load(folder: Path, dtype: str, *, quantised: bool = True) -> tuple[Any, Kind]:
    """An adapter on its base. quantised: on the base as it was trained on, where that was quantised; else on the plain one.

    Raises `InputError` where tensors of the adapter are missing: peft would go on with new ones.
    """
    from peft import PeftModel, get_peft_model_state_dict

    from ptft.core import modeling_bottleneck

    modeling_bottleneck.register()
    if quantised and (folder / QUANTISATION).is_file():
        model, kind = load_quantised(base_folder(folder), dtype, folder / QUANTISATION)
    else:
        model, kind = models.load_plain(base_folder(folder), dtype)
    _fit_vocabulary(model, folder)
    model = PeftModel.from_pretrained(model, folder)
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    models.refuse_missing(folder, {"missing_keys": wanted - {tensor.name for tensor in tensors(folder)}})
    _take_generation_config(model, folder)
    return model, kind


def load_quantised(folder: Path, dtype: str, settings: Path) -> tuple[Any, Kind]:
    """A plain checkpoint in 4 bits. settings: the file with bitsandbytes' configuration."""
    import transformers

    refuse_without_bitsandbytes()
    config = transformers.BitsAndBytesConfig(**json.loads(settings.read_text(encoding="utf-8")))
    model, kind = models.load_plain(folder, dtype, quantization_config=config, device_map={"": models.device()})
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # on some CPUs it would repack weights for evaluation, in bfloat16, and so change what is trained on afterwards
            module.support_avx512bf16_for_cpu = False
    return model, kind


def refuse_without_bitsandbytes() -> None:
    """Raise `UsageError` where bitsandbytes is not installed."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError("4-bit bases need bitsandbytes, which is not installed", remedy="pip install 'ptft[qlora]'")


def _fit_vocabulary(model: Any, folder: Path) -> None:
    """Adapters made elsewhere may hold the embeddings of a longer vocabulary than their base has (peft#1300)."""
    sizes = {tensor.shape[0] for tensor in tensors(folder) if tensor.name.endswith(_EMBEDDINGS)}
    if len(sizes) == 1 and sizes != {len(model.get_input_embeddings().weight)}:
        model.resize_token_embeddings(sizes.pop(), mean_resizing=False)


def _take_generation_config(model: Any, folder: Path) -> None:
    """The adapter's own: its end of turn may be another than the base's."""
    if (folder / GENERATION).is_file() and hasattr(model, "generation_config"):
        from transformers import GenerationConfig

        model.get_base_model().generation_config = GenerationConfig.from_pretrained(folder)


# ---------------------------------------------------------------- merging


def refuse_unmergeable(folder: Path) -> None:
    """Raise `InputError` for an adapter that no base can take in."""
    method = UNMERGEABLE.get(str(settings_of(folder).get("peft_type")))
    if method is not None:
        what = f"an adapter of the method {method} cannot be merged: what it adds is not a change of the base's weights"
        remedy = "use the folder as it is (ptft eval, ptft generate), or train with --method lora"
        raise InputError(what, where=str(folder), remedy=remedy)


def merged(loaded: Loaded) -> Loaded:
    """The same model with its adapter folded into the weights; itself where it is no adapter. Raises `InputError`."""
    if not is_adapter(loaded.folder):
        return loaded
    return replace(loaded, model=merged_from(loaded.folder).eval().to(models.device()))


def merged_from(folder: Path) -> Any:
    """An adapter folder as one plain model, float32: merging in fewer bits loses more (peft#2321).

    The base is the one in full precision, also where the adapter was trained on it in 4 bits.
    """
    refuse_unmergeable(folder)
    with models.readable(folder):
        return folded(load(folder, "float32", quantised=False)[0])


def folded(model: Any) -> Any:
    """A loaded adapter's model with the adapter in its weights. The base is changed in place."""
    _unwrap_trained_whole(model)
    was_tied = _tied(model)
    if was_tied:
        _untie_adapted(model)
    whole = model.merge_and_unload()
    if was_tied and _alike(whole):
        whole.config.get_text_config().tie_word_embeddings = True
        whole.tie_weights()
    return whole.requires_grad_(True)  # peft froze the base


def _unwrap_trained_whole(model: Any) -> None:
    """Put what was trained whole (a head) in its place; peft's own merging knows single layers only."""
    from peft.utils import ModulesToSaveWrapper

    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    for name, module in wrapped:
        outer, _, own = name.rpartition(".")
        setattr(model.get_submodule(outer), own, module.modules_to_save[module.active_adapter])


def _tied(model: Any) -> bool:
    return bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))


def _untie_adapted(model: Any) -> None:
    """An update of the output layer alone must not reach the embeddings through the matrix that they share, nor the reverse."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    embeddings, output = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(embeddings, BaseTunerLayer) or isinstance(output, BaseTunerLayer):
        layer = output.get_base_layer() if isinstance(output, BaseTunerLayer) else output
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone())


def _alike(model: Any) -> bool:
    """Whether the output layer still is the embeddings."""
    import torch

    embeddings, output = model.get_input_embeddings(), model.get_output_embeddings()
    return output is not None and bool(torch.equal(embeddings.weight, output.weight))
