"""A model as a chain of blocks, so that calibration runs block by block and later ones see what quantising did to earlier ones."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ptft.core.quantising.statistics import Calibration, Collector

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

HIDDEN = "hidden_states"


class _Enough(Exception):
    """The blocks have been run, and the rest of the model is not needed."""


@dataclass
class Chain:
    """The blocks of one stack (an encoder, a decoder), by name, and what each is given.

    hidden: of each batch, what the next block takes, (rows, tokens, width): all that is kept of the activations.
    given: of each batch, each block's other arguments (masks, positions), of which most are the same tensors.
    """

    names: list[str]
    modules: list[Any]
    hidden: list[Tensor] = field(default_factory=list)
    given: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = field(default_factory=list)

    def run(self, block: int, batch: int) -> Tensor:
        """The block's output on a batch."""
        args, named = self.given[batch][block]
        return _first(self.modules[block](self.hidden[batch], *args, **named))

    def collect(self, block: int, calibration: Calibration, collector: Collector) -> None:
        for batch, inputs in enumerate(calibration.batches):
            collector.begin(inputs.get("attention_mask"))
            self.run(block, batch)

    def advance(self, block: int) -> None:
        """The hidden states become what the block, as it is now, makes of them."""
        self.hidden = [self.run(block, batch) for batch in range(len(self.hidden))]


def chains(model: Any, calibration: Calibration) -> list[Chain]:
    """Every stack of blocks whose members take what the one before made. Other models (ALBERT) have none.

    Of an encoder-decoder, the decoder sees the encoder as it was before.
    """
    import torch

    found = []
    with torch.no_grad():
        for names, modules in _stacks(model):
            chain = Chain(names, modules)
            if all(_captured(model, chain, batch) for batch in calibration.batches):
                found.append(chain)
    return found


def _stacks(model: Any) -> Iterator[tuple[list[str], list[Any]]]:
    """The outermost lists of two or more modules of one class that hold linear layers, and of one such module."""
    import torch

    taken: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.ModuleList) or any(name.startswith(f"{outer}.") for outer in taken):
            continue
        blocks = list(module)
        if blocks and len({type(block) for block in blocks}) == 1 and _holds_layers(blocks[0]):
            taken.append(name)
            yield [f"{name}.{index}" for index in range(len(blocks))], blocks


def _holds_layers(block: Any) -> bool:
    import torch

    return any(isinstance(module, torch.nn.Linear) or is_conv1d(module) for module in list(block.modules())[1:])


def is_conv1d(module: Any) -> bool:
    """GPT-2's linear layer, whose weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _captured(model: Any, chain: Chain, batch: dict[str, Tensor]) -> bool:
    """Add what the blocks are given on this batch; False where they are no chain."""
    entered: list[Tensor] = []
    left: list[Tensor] = []
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def enter(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        again = len(entered) == len(chain.modules) or module is not chain.modules[len(entered)]
        if again or not (args or HIDDEN in named):
            entered.clear()
            raise _Enough
        entered.append(args[0] if args else named[HIDDEN])
        given.append((args[1:], {key: value for key, value in named.items() if args or key != HIDDEN}))
        if len(entered) == len(chain.modules) > 1:
            raise _Enough

    def leave(module: Any, args: tuple[Any, ...], made: Any) -> None:
        left.append(_first(made))

    handles = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in chain.modules]
    handles += [module.register_forward_hook(leave) for module in chain.modules]
    try:
        model(**batch, **uncached(model))
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if len(entered) != len(chain.modules) or any(
        made is not taken for made, taken in zip(left, entered[1:], strict=False)
    ):
        return False
    chain.hidden.append(entered[0])
    chain.given.append(given)
    return True


def uncached(model: Any) -> dict[str, Any]:
    """Arguments by which no keys and values are kept: a block that runs twice would see them twice."""
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def _first(made: Any) -> Tensor:
    return made[0] if isinstance(made, tuple) else made
