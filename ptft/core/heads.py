"""Heads: what a task puts on a base, trained from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptft.core import models
from ptft.core.errors import InputError
from ptft.core.models import ONE_LABEL

# parts of the families' own headed classes that a new task trains from nothing
NEW_PARTS = ("score", "classifier", "pooler", "pre_classifier", "head", "qa_outputs")
# what the last layer of a classifier's head is called, or the module that it is in
LAST_PARTS = ("score", "classifier", "classification_head")


@dataclass(frozen=True)
class Head:
    """kind: what the headed model does. labels: names by id; one for a number, none for a span.

    problem (classifiers): `ONE_LABEL`, `MANY_LABELS` or `NUMBER`. pooling (classifiers): "mean" takes `MeanPooledForSequenceClassification`,
    "own" the family's class: the last token of causal ones, the first of masked ones; "auto": mean on causal bases. pad_id: what batches are padded with (None: the tokenizer's).
    """

    kind: Literal["classifier", "tagger", "span"]
    labels: tuple[str, ...] = ()
    problem: str = ONE_LABEL
    pooling: Literal["auto", "mean", "own"] = "auto"
    pad_id: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What the configuration says of it."""
        if self.kind == "span":
            return {}
        names = {
            "num_labels": len(self.labels), "id2label": dict(enumerate(self.labels)),
            "label2id": {label: index for index, label in enumerate(self.labels)},
        }  # fmt: skip
        return names if self.kind == "tagger" else {**names, "problem_type": self.problem}


def with_head(folder: Path, head: Head, *, scratch: bool = False, dtype: str = "auto") -> Any:
    """The checkpoint in `folder` with a head on it; scratch: the same network with no learnt weights.

    Raises `InputError` where weights are missing or the family has no such head.
    """
    config = models.load_config(folder)
    settings = _settings(folder, head)
    if _is_mean_pooled(config, head):
        return _mean_pooled(folder, config, settings, scratch, dtype)
    auto = _class_for(config, head)
    if scratch:
        return auto.from_config(_with(config, settings))
    if head.kind == "span" and models.kind_of(config) == "causal":
        return _on_backbone(folder, auto.from_config(_with(config, settings)), dtype)
    with models.readable(folder):
        model, info = auto.from_pretrained(
            folder, dtype=dtype, ignore_mismatched_sizes=True, trust_remote_code=False, output_loading_info=True,
            **settings,
        )  # fmt: skip
    models.refuse_missing(folder, info, but=NEW_PARTS)
    return model


def _on_backbone(folder: Path, model: Any, dtype: str) -> Any:
    """A new headed model with the checkpoint's network: causal families name it otherwise in their class for spans than elsewhere."""
    import transformers

    with models.readable(folder):
        backbone, info = transformers.AutoModel.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, output_loading_info=True
        )
    models.refuse_missing(folder, info)
    setattr(model, model.base_model_prefix, backbone)
    return model.to(backbone.dtype)


def _settings(folder: Path, head: Head) -> dict[str, Any]:
    pad = models.load_tokenizer(folder).pad_token_id if head.pad_id is None else head.pad_id
    return {**head.settings, "pad_token_id": pad}


def _with(config: Any, settings: Mapping[str, Any]) -> Any:
    for key, value in settings.items():
        setattr(config, key, value)
    return config


def _class_for(config: Any, head: Head) -> Any:
    auto = models.auto_class(head.kind)
    if type(config) not in auto._model_mapping:
        remedy = "start from a base of a family that has one: BERT, ModernBERT, Llama, Qwen, T5 or BART do"
        raise InputError(f"the family {config.model_type} has no head of a {head.kind}", remedy=remedy)
    return auto


def _is_mean_pooled(config: Any, head: Head) -> bool:
    means = {"causal": ("auto", "mean"), "masked": ("mean",)}.get(models.kind_of(config), ())
    return head.kind == "classifier" and head.pooling in means


def _mean_pooled(folder: Path, config: Any, settings: Mapping[str, Any], scratch: bool, dtype: str) -> Any:
    import transformers

    from ptft.core.modeling_mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification, without_pooler

    model = MeanPooledForSequenceClassification(MeanPooledConfig(backbone=config, **settings))
    if not scratch:
        with models.readable(folder):
            backbone, info = transformers.AutoModel.from_pretrained(
                folder, dtype=dtype, trust_remote_code=False, output_loading_info=True
            )
        models.refuse_missing(folder, info, but=("pooler",))
        model.model = without_pooler(backbone)
        model.to(backbone.dtype)
    return model


# ---------------------------------------------------------------- the units of a number


@dataclass(frozen=True)
class OutputLayer:
    """The last layer of a head. bias: whether it has one."""

    bias: bool


def output_layer(folder: Path, head: Head) -> OutputLayer | None:
    """The last layer of the head that `with_head` would put on, seen without making the network; None where it is not plain."""
    import torch

    from ptft.core.modeling_mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification

    config, settings = models.load_config(folder), _settings(folder, head)
    with torch.device("meta"):
        if _is_mean_pooled(config, head):
            model = MeanPooledForSequenceClassification(MeanPooledConfig(backbone=config, **settings))
        else:
            model = _class_for(config, head).from_config(_with(config, settings))
    found = _last_layers(model)
    return OutputLayer(found[0].bias is not None) if len(found) == 1 else None


def fold(model: Any, shift: float, scale: float) -> None:
    """Make a model that answers (number - shift) / scale answer the number itself: exact, in the last layer of its head."""
    import torch

    if (shift, scale) == (0.0, 1.0):
        return
    (layer,) = _last_layers(model)
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale).add_(shift)


def _last_layers(model: Any) -> list[Any]:
    """The linear layers with one output that are a head's last, of a plain model or of the one that peft trains in its stead."""
    import torch

    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module.out_features == 1
        and any(part in LAST_PARTS for part in name.split("."))
        and not any(part == "original_module" or part.startswith("lora_") for part in name.split("."))
    ]
