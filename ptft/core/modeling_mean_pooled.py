"""A classifier that averages a model's last hidden states over the tokens of a text.

transformers' own classes for causal families read the last token alone, which few labels cannot teach, and those for encoders the
first, which encoders of sentences were not made for. This file is copied
into every checkpoint that uses it, so the folder loads without ptft:

    AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)

It needs torch and transformers only.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledConfig(PretrainedConfig):
    """backbone: the base's own configuration. Its own model_type keeps a plain load from guessing another head."""

    model_type = "mean_pooled"
    sub_configs = {"backbone": AutoConfig}  # noqa: RUF012 - transformers reads a plain class attribute

    def __init__(self, backbone: Any = None, **kwargs: Any) -> None:
        if isinstance(backbone, dict):
            backbone = dict(backbone)
            backbone = AutoConfig.for_model(backbone.pop("model_type"), **backbone)
        self.backbone = backbone
        super().__init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:
        return self.backbone if self.backbone is not None else self


class MeanPooledForSequenceClassification(PreTrainedModel):
    """backbone -> mean over attended tokens -> linear.

    labels, if given, are as `config.problem_type` says: class ids (batch,), of several labels 0.0 and 1.0 (batch, labels), or
    numbers (batch,).
    """

    config_class = MeanPooledConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MeanPooledConfig) -> None:
        super().__init__(config)
        self.model = without_pooler(AutoModel.from_config(config.backbone))
        self.score = nn.Linear(config.backbone.hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        past_key_values: Any = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        more = {"past_key_values": past_key_values, "token_type_ids": token_type_ids}  # not every family takes them
        hidden = self.model(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, use_cache=False,
            **{name: value for name, value in more.items() if value is not None},
        ).last_hidden_state  # fmt: skip
        if attention_mask is None:
            pooled = hidden.mean(dim=1)
        else:
            seen = attention_mask[:, -hidden.size(1) :]  # what is past (prefix tuning's) has a mask and no hidden state
            weights = seen.to(hidden.dtype).unsqueeze(-1)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        logits = self.score(pooled)
        loss = None if labels is None else self._loss(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over the labels. logits: (batch, labels), float32."""
        if self.config.problem_type == "regression":
            return nn.functional.mse_loss(logits.view_as(labels), labels.float())
        if self.config.problem_type == "multi_label_classification":
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        return nn.functional.cross_entropy(logits, labels.to(torch.long))


def without_pooler(model: Any) -> Any:
    """A backbone without BERT's pooler, which is not read: weights that never get a gradient disturb training in processes."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


MeanPooledConfig.register_for_auto_class()
MeanPooledForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
