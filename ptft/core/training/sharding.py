"""FSDP2: every process holds its share of the weights, gradients and optimizer state, and gathers a layer when it is due.

What is written to disk is always whole, so a run may go on with another number of processes, sharded or not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ptft.core.errors import UsageError
from ptft.core.training.processes import rank
from ptft.core.training.settings import Settings


def shard(model: Any, settings: Settings) -> None:
    """Shard `model` in place over the processes of the group, layer by layer.

    Raises `UsageError` for Muon, whose matrices must be whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if settings.optimizer == "muon":
        raise UsageError("muon needs whole matrices", remedy="leave out --nproc, or take hardware.parallel=ddp")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    low = torch.bfloat16 if settings.precision in ("bf16", "fp8") else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _layers(model: Any) -> list[Any]:
    """The transformer layers: the modules of the largest list of modules alike."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    alike = [found for found in lists if len({type(module) for module in found}) == 1]
    return list(max(alike, key=lambda found: sum(p.numel() for p in found.parameters()), default=()))


def is_sharded(model: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


@contextlib.contextmanager
def gradients_kept(model: Any) -> Iterator[None]:
    """Accumulate without reducing over the processes."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def whole_state(model: Any) -> dict[str, torch.Tensor]:
    """The weights, whole, on the CPU of rank 0; the others must ask too, and get none."""
    gathered_each = ((name, whole(tensor)) for name, tensor in model.state_dict().items())
    return {name: tensor.cpu() for name, tensor in gathered_each if rank() == 0}


def whole(value: Any) -> Any:
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def unsharded(model: Any) -> Any:
    """A whole copy of a sharded model, on the CPU of rank 0; the others must ask too, and get None."""
    state = whole_state(model)
    if rank():
        return None
    copy = type(model)(model.config)
    copy.load_state_dict(state)
    copy.tie_weights()
    return copy


# ---------------------------------------------------------------- the optimizer's state, whole on disk


def gathered(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state with every tensor whole. Every process must ask."""
    state = {index: {key: whole(value) for key, value in held.items()} for index, held in state_dict["state"].items()}
    return {**state_dict, "state": state}


def scattered(state_dict: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole state as this process's share of it, placed as the optimizer's parameters are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def place(value: Any, parameter: Any) -> Any:
        fits = isinstance(parameter, DTensor) and torch.is_tensor(value) and value.shape == parameter.shape
        if not fits:
            return value
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)

    state = {
        index: {key: place(value, parameters[index]) for key, value in held.items()}
        for index, held in state_dict["state"].items()
    }
    return {**state_dict, "state": state}
