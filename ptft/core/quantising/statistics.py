"""What quantising needs to know of a layer's inputs: second moments and magnitudes, over calibration rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ptft.core.errors import InputError
from ptft.core.models import Loaded

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

ROWS, LENGTH = 128, 512  # calibration rows and their tokens; GPTQ's paper takes 128 of 2048
BATCH_TOKENS = 2048
WIDEST_DOUBLE = 4096  # wider layers' second moments are summed in float32: 4096^2 doubles are 128 MiB


@dataclass(frozen=True)
class Calibration:
    """Rows of token ids in batches: what a model's forward takes (input_ids, attention_mask, ...), as tensors on its device."""

    batches: tuple[dict[str, Tensor], ...]

    @property
    def tokens(self) -> int:
        return sum(int(batch["attention_mask"].sum()) for batch in self.batches)


def calibration_of(
    loaded: Loaded, texts: Sequence[str], pairs: Sequence[str] | None = None, rows: int = ROWS, length: int = LENGTH
) -> Calibration:
    """Rows for a model. Of a causal one, texts end to end, with the end-of-text token between, cut into rows of `length`.

    Of others, a row a text, as they are used, in batches of like length. Raises `InputError` where the texts give no token.
    """
    length = min(length, loaded.seq_len)
    encoded = (
        _end_to_end(loaded, texts, rows, length)
        if loaded.kind == "causal"
        else _row_a_text(loaded, texts, pairs, rows, length)
    )
    if not encoded:
        raise InputError("the calibration rows hold no token", remedy="name rows that have text")
    size = max(1, BATCH_TOKENS // length)
    groups = [encoded[at : at + size] for at in range(0, len(encoded), size)]
    return Calibration(tuple(_batch(loaded, group) for group in groups))


def _end_to_end(loaded: Loaded, texts: Sequence[str], rows: int, length: int) -> list[dict[str, list[int]]]:
    end = loaded.tokenizer.eos_token_id
    stream: list[int] = []
    for text in texts:
        stream += loaded.tokenizer(text, add_special_tokens=False)["input_ids"] + ([] if end is None else [end])
        if len(stream) >= rows * length:
            break
    found = [stream[at : at + length] for at in range(0, min(len(stream), rows * length), length)]
    return [{"input_ids": row} for row in found if len(row) == length or row is found[0]]


def _row_a_text(
    loaded: Loaded, texts: Sequence[str], pairs: Sequence[str] | None, rows: int, length: int
) -> list[dict[str, list[int]]]:
    from ptft.core.scoring import encode_cut

    seconds = None if pairs is None else pairs[:rows]
    encoded, _ = encode_cut(loaded.tokenizer, texts[:rows], seconds, length)
    kept: list[dict[str, list[int]]] = [dict(row) for row in encoded if row["input_ids"]]
    return sorted(kept, key=lambda row: len(row["input_ids"]))


def _batch(loaded: Loaded, rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """Rows padded on the right, and their mask."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    pad = getattr(loaded.model.config, "pad_token_id", None) or 0
    filled = {
        name: [list(row[name]) + [pad if name == "input_ids" else 0] * (longest - len(row[name])) for row in rows]
        for name in rows[0]
    }
    filled["attention_mask"] = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    return {name: torch.tensor(ids, device=loaded.model.device) for name, ids in filled.items()}


# ---------------------------------------------------------------- inputs of layers


@dataclass
class Inputs:
    """Sums over what a layer was given: gram (in, in), sum x x^T; magnitude (in,), sum |x|; count: tokens."""

    gram: Tensor
    magnitude: Tensor
    count: int = 0

    @property
    def hessian(self) -> Tensor:
        """2 X^T X / tokens, of the squared error of the layer's outputs."""
        return self.gram * (2 / max(1, self.count))

    @property
    def mean_magnitude(self) -> Tensor:
        return self.magnitude / max(1, self.count)

    def add(self, tokens: Tensor) -> None:
        """tokens: (count, in)."""
        found = tokens.float()
        self.gram += (found.T @ found).to(self.gram.dtype)
        self.magnitude += found.abs().sum(0, dtype=self.magnitude.dtype)
        self.count += len(found)

    def scaled(self, scales: Tensor) -> Inputs:
        """What the sums are when every input is divided by its scale (in,)."""
        scales = scales.to(self.gram.dtype)
        return Inputs(self.gram / scales[:, None] / scales[None], self.magnitude / scales, self.count)


def empty(width: int, device: Any) -> Inputs:
    import torch

    dtype = torch.float64 if width <= WIDEST_DOUBLE else torch.float32
    return Inputs(
        torch.zeros(width, width, dtype=dtype, device=device), torch.zeros(width, dtype=torch.float64, device=device)
    )


@dataclass
class Collector:
    """The inputs of layers, summed while a model runs inside `collecting`. Layers that are given the same tensor share sums.

    mask: bool (rows, tokens) of the batch that runs, True where there is a token; None: all are.
    """

    mask: Tensor | None = None
    leaders: dict[str, str] = field(default_factory=dict)
    sums: dict[str, Inputs] = field(default_factory=dict)
    _seen: list[tuple[Tensor, str]] = field(default_factory=list)

    def __getitem__(self, name: str) -> Inputs | None:
        """A layer's sums; None where it was never run, as an expert that no token chose."""
        return self.sums.get(self.leaders.get(name, name))

    def begin(self, mask: Tensor | None) -> None:
        """Before each batch."""
        self.mask = padding_in(mask)
        self._seen.clear()

    def take(self, name: str, given: Tensor) -> None:
        if name not in self.leaders:
            self.leaders[name] = next((leader for tensor, leader in self._seen if tensor is given), name)
            self._seen.append((given, self.leaders[name]))
        if self.leaders[name] != name:
            return
        tokens = tokens_of(given, self.mask)
        if name not in self.sums:
            self.sums[name] = empty(tokens.shape[1], tokens.device)
        self.sums[name].add(tokens)


@contextmanager
def collecting(modules: Mapping[str, Any]) -> Iterator[Collector]:
    collector = Collector()
    with watching(modules, collector.take):
        yield collector


@contextmanager
def watching(modules: Mapping[str, Any], take: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While open, `take(name, input)` is called before each of these modules runs."""

    def hook(name: str) -> Any:
        return lambda module, args: take(name, args[0])

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def padding_in(mask: Tensor | None) -> Tensor | None:
    """An attention mask as bool; None where it hides nothing."""
    return None if mask is None or bool(mask.all()) else mask.bool()


def tokens_of(given: Tensor, mask: Tensor | None) -> Tensor:
    """(tokens, in) of a layer's input. mask: bool (rows, tokens), False where there is padding; None: there is none.

    An input of another shape than the mask's (a pooled one, an expert's) is taken whole.
    """
    if mask is not None and given.dim() == 3 and given.shape[:2] == mask.shape:
        return given[mask]
    return given.reshape(-1, given.shape[-1])
