"""The summed cross entropy of a linear output layer, a block of rows at a time: all logits together are never held."""

from __future__ import annotations

from typing import Any

import torch

from ptft.core.encoding import IGNORED

FEWEST_ROWS = 256  # fewer make the matrix products slow
CPU_LOGITS, GPU_LOGITS = 2**20, 2**26  # logits held at once: what stays near a CPU's cache, what fills a GPU


def linear_nll(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`cross_entropy(hidden @ weight.T + bias, labels, reduction="sum")`, a scalar, at least float32.

    hidden: (tokens, width); weight: (vocabulary, width); labels: (tokens,), `IGNORED` for none. The products run in the
    autocast dtype where autocast is on, the rest in full. Gradients are made on the way, as Liger does (Hsu et al. 2024),
    so a second `backward` raises. torch's own `linear_cross_entropy` holds all logits unless told a chunk size, and returns
    the sum in bfloat16 where the input is: three digits.
    """
    device = hidden.device.type
    rows = max(FEWEST_ROWS, (CPU_LOGITS if device == "cpu" else GPU_LOGITS) // len(weight))
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    loss: torch.Tensor = _LinearNll.apply(hidden, weight, bias, labels, rows, dtype)
    return loss


class _LinearNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor, rows: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        wanted = ctx.needs_input_grad
        by_hidden = torch.empty_like(hidden) if wanted[0] else None
        by_weight = torch.zeros_like(weight) if wanted[1] else None
        by_bias = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        full = torch.promote_types(dtype, torch.float32)
        matrix, total = weight.to(dtype), hidden.new_zeros((), dtype=full)
        shift = None if bias is None else bias.to(dtype)
        for start in range(0, len(hidden), rows):
            part = hidden[start : start + rows].to(dtype)
            logits = torch.nn.functional.linear(part, matrix, shift)
            total += _to_nll_and_gradient(logits, labels[start : start + rows], full)
            if by_hidden is not None:
                by_hidden[start : start + rows] = logits @ matrix
            if by_weight is not None:
                _add_product(by_weight, logits, part)
            if by_bias is not None:
                by_bias += logits.sum(0, dtype=by_bias.dtype)
        ctx.gradients = (by_hidden, by_weight, by_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the gradients of this loss were already taken")
        scaled = [None if gradient is None else gradient.mul_(above[0]) for gradient in gradients]
        return (*scaled, None, None, None)


def _to_nll_and_gradient(logits: torch.Tensor, labels: torch.Tensor, full: torch.dtype) -> torch.Tensor:
    """The summed cross entropy of these rows, in `full` precision; `logits` is overwritten with its gradient.

    What it costs is passes over the logits: in place where they are in full precision, else with one such copy.
    """
    labelled = (labels != IGNORED).unsqueeze(1)
    targets = labels.clamp(min=0).unsqueeze(1)
    minus_one = torch.full_like(targets, -1, dtype=full)
    if logits.dtype != full:
        log = torch.log_softmax(logits, 1, dtype=full)
        nll = -(log.gather(1, targets) * labelled).sum()
        torch.mul(log.exp_().scatter_add_(1, targets, minus_one), labelled, out=logits)
        return nll
    picked, highest = logits.gather(1, targets), logits.amax(1, keepdim=True)
    mass = logits.sub_(highest).exp_().sum(1, keepdim=True)
    logits.mul_(labelled / mass).scatter_add_(1, targets, minus_one * labelled)
    return ((mass.log() + highest - picked) * labelled).sum()


def _add_product(total: torch.Tensor, gradient: torch.Tensor, part: torch.Tensor) -> None:
    if total.dtype == gradient.dtype:
        total.addmm_(gradient.t(), part)
    else:
        total += gradient.t() @ part  # the products of a block in half precision, their sum in full
