"""Bottleneck adapters as a peft method: down, a nonlinearity, up, added to what a sub-layer of the network gives.

Houlsby et al. (2019) put one after attention and one after the feed-forward network of each layer, Pfeiffer et al. (2021) one
after the feed-forward network only. This file is copied into every folder of such an adapter, so that it loads without ptft:

    sys.path.insert(0, folder)
    import modeling_bottleneck
    model = PeftModel.from_pretrained(base, folder)

It needs torch and peft only. What it adds is not linear, so it cannot be merged into the base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType
from torch import nn

NAME = "BOTTLENECK"
ACTIVATIONS = {"relu": nn.functional.relu, "gelu": nn.functional.gelu, "silu": nn.functional.silu}


@dataclass
class BottleneckConfig(PeftConfig):
    """size: the width in the middle. placement: what `target_modules` stand for, for the reader."""

    target_modules: list[str] | str | None = field(default=None)
    exclude_modules: list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    size: int = 64
    activation: str = "relu"
    placement: str = "pfeiffer"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = getattr(PeftType, NAME)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear layer that ends a sub-layer, with adapters on its output: y + up(activation(down(y)))."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict({})
        self.bottleneck_up = nn.ModuleDict({})
        self.activations: dict[str, Any] = {}
        self._active_adapter = adapter_name
        self.merged_adapters: list[str] = []
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add an adapter that changes nothing yet: its up projection is zero."""
        base = self.get_base_layer()
        width = getattr(base, "out_features", None) or base.nf  # GPT-2's Conv1D
        down, up = nn.Linear(width, config.size), nn.Linear(config.size, width)
        if down.weight.device.type != "meta":
            nn.init.normal_(down.weight, std=0.02)
            nn.init.zeros_(down.bias)
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)
        self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name] = down, up
        self.activations[adapter_name] = ACTIVATIONS[config.activation]
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.bottleneck_down:
                down, up = self.bottleneck_down[name], self.bottleneck_up[name]
                inner = self.activations[name](down(result.to(down.weight.dtype)))
                result = result + up(inner).to(result.dtype)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError("a bottleneck adapter is not linear: it cannot be merged")

    def unmerge(self) -> None:
        """Nothing was merged."""


class BottleneckModel(BaseTuner):
    """Puts a `BottleneckLayer` around each targeted module."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - peft reads a plain class attribute

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


def register() -> None:
    """Make peft know the method. peft's list of methods is an enum, so a member is added to it."""
    if NAME in PeftType.__members__:
        return
    member = str.__new__(PeftType, NAME)
    member._name_, member._value_ = NAME, NAME
    type.__setattr__(PeftType, NAME, member)
    PeftType._member_map_[NAME] = PeftType._value2member_map_[NAME] = member
    PeftType._member_names_.append(NAME)
    register_peft_method(name=NAME.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel)


register()
