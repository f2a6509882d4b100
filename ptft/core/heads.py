"""Heads: what a task puts on a base, trained from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptft.core import models
from ptft.core.models import ONE_LABEL

# parts of the families' own headed classes that a new task trains from nothing
NEW_PARTS = ("score", "classifier", "pooler", "pre_classifier", "head", "qa_outputs")


@dataclass(frozen=True)
class Head:
    """kind: what the headed model does. labels: names by id; one for a number, none for a span.

    problem (classifiers): `ONE_LABEL`, `MANY_LABELS` or `NUMBER`. pooling (classifiers on causal bases): "mean" takes
    `MeanPooledForSequenceClassification`, "last" the family's own class.
    """

    kind: Literal["classifier", "tagger", "span"]
    labels: tuple[str, ...] = ()
    problem: str = ONE_LABEL
    pooling: Literal["mean", "last"] = "mean"

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
    if head.kind == "classifier" and head.pooling == "mean" and models.kind_of(config) == "causal":
        return _mean_pooled(folder, config, head.settings, scratch)
    settings: Mapping[str, Any] = {**head.settings, "pad_token_id": models.load_tokenizer(folder).pad_token_id}
    auto = models.auto_class(head.kind)
    if scratch:
        for key, value in settings.items():
            setattr(config, key, value)
        return auto.from_config(config)
    with models.readable(folder):
        model, info = auto.from_pretrained(
            folder, dtype=dtype, ignore_mismatched_sizes=True, trust_remote_code=False, output_loading_info=True,
            **settings,
        )  # fmt: skip
    models.refuse_missing(folder, info, but=NEW_PARTS)
    return model


def _mean_pooled(folder: Path, config: Any, settings: Mapping[str, Any], scratch: bool) -> Any:
    import transformers

    from ptft.core.modeling_mean_pooled import MeanPooledConfig, MeanPooledForSequenceClassification

    own = MeanPooledConfig(backbone=config, pad_token_id=config.pad_token_id, **settings)
    model = MeanPooledForSequenceClassification(own)
    if not scratch:
        model.model, info = transformers.AutoModel.from_pretrained(
            folder, dtype="float32", trust_remote_code=False, output_loading_info=True
        )
        models.refuse_missing(folder, info)
    return model
