"""An ONNX graph with the interface of a transformers model: called, asked for its parameters, told to generate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast, QuestionAnsweringModelOutput

from ptft.core.errors import InputError
from ptft.core.runtimes import graph_fit
from ptft.core.runtimes.session import Session

Tensors = list[torch.Tensor]


class OnnxModel(PreTrainedModel, GenerationMixin):
    """The graph runs on the CPU (or where ONNX Runtime put it); tensors come and go on the CPU.

    A causal graph without key and value inputs reads all its tokens anew for each one; the cache then holds token ids.
    """

    main_input_name = "input_ids"
    _supports_sdpa = True  # what the configuration says of attention means nothing here
    _supports_flash_attn = True

    def __init__(self, config: Any, kind: str, session: Session, sizes: tuple[tuple[int, ...], ...]) -> None:
        """sizes: of the weight tensors. Raises `InputError` where the graph is not what the configuration says."""
        super().__init__(config)
        self.session, self.kind = session, kind
        self._layers = sum(name.startswith("past_key_values.") and name.endswith(".key") for name in session.inputs)
        self._weights = [torch.nn.Parameter(torch.empty(size, device="meta"), False) for size in sizes]
        graph_fit.require_inputs(session, self._cached_names)
        graph_fit.require_outputs(session, kind, config, self._cached_names)

    # ------------------------------------------------------------ what callers ask of a torch model

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float16 if self.session.is_half else torch.float32

    def to(self, *args: Any, **kwargs: Any) -> OnnxModel:
        """The graph stays where it is."""
        return self

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """Stand-ins on torch's meta device, of the sizes that the file's weights have."""
        yield from self._weights

    # ------------------------------------------------------------ one pass

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None, past_key_values: Any = None, use_cache: bool | None = None,
        return_dict: bool | None = None, logits_to_keep: int = 0,
    ) -> Any:  # fmt: skip
        """input_ids: (batch, new tokens). attention_mask: (batch, all tokens). The outputs are those of transformers' models.

        logits_to_keep: of a causal graph, logits of so many last tokens (0: of all), which `generate` asks for.
        """
        past = self._past_of(past_key_values)
        before = past[0].shape[-2] if past else 0
        if attention_mask is None:
            attention_mask = torch.ones((len(input_ids), before + input_ids.shape[1]), dtype=torch.int64)
        types = self._types_of(input_ids, token_type_ids)
        if self._knows_padding() or bool(attention_mask.all()):
            found, cached = self._run(input_ids, attention_mask, types, past, logits_to_keep)
        else:
            found, cached = self._each_alone(input_ids, attention_mask, types, past)
        if self.kind == "span":
            return QuestionAnsweringModelOutput(start_logits=found["start_logits"], end_logits=found["end_logits"])
        logits = found["logits"][:, -logits_to_keep:] if self.kind == "causal" else found["logits"]
        return CausalLMOutputWithPast(logits=logits, past_key_values=_cache(cached) if use_cache else None)

    def _run(
        self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor, past: Tensors, kept: int = 0
    ) -> tuple[dict[str, torch.Tensor], Tensors]:
        """The outputs of the new tokens, and what the next pass needs of all tokens so far.

        kept: of how many last tokens the graph need compute logits, where it takes that; 0 of all.
        """
        fresh = ids.shape[1]
        if past and not self._layers:
            ids = torch.cat([past[0][:, 0, :, 0], ids], dim=1)
        given = {
            "input_ids": ids, "attention_mask": mask, "token_type_ids": types,
            "position_ids": _positions(mask)[:, -ids.shape[1] :], graph_fit.KEPT: torch.tensor([kept]),
        }  # fmt: skip
        names = self._cached_names
        given |= dict(zip(names, past, strict=True)) if past and names else self._empty(len(ids))
        found = self.session.run(given)
        heads = {name: found[name] for name in graph_fit.outputs_of(self.kind)}
        if self.kind != "causal":
            return heads, []
        cached = [found[graph_fit.present(name)] for name in names] or [ids[:, None, :, None]]
        return {"logits": heads["logits"][:, -fresh:]}, cached

    def _each_alone(
        self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor, past: Tensors
    ) -> tuple[dict[str, torch.Tensor], Tensors]:
        """`_run` of each row without its padding, which the graph would read as text; zeros where that was."""
        kept = mask.bool()
        new = kept[:, -ids.shape[1] :]
        made = []
        for row in range(len(ids)):
            mine = [tensor[row : row + 1, :, kept[row, : tensor.shape[-2]]] for tensor in past]
            line, kind = (tensor[row][new[row]][None] for tensor in (ids, types))
            made.append(self._run(line, torch.ones((1, int(kept[row].sum())), dtype=torch.int64), kind, mine))
        pooled = self.kind == "classifier"
        found = {
            name: torch.cat(rows) if pooled else _spread(rows, new, 1)
            for name in made[0][0]
            for rows in [[heads[name] for heads, _ in made]]
        }
        return found, [_spread([cached[part] for _, cached in made], kept, 2) for part in range(len(made[0][1]))]

    def _knows_padding(self) -> bool:
        """Whether the graph can be told. Rotary positions count from any start, so a mask is enough; others need positions."""
        names = self.session.inputs
        if "attention_mask" not in names or self.kind != "causal":
            return "attention_mask" in names
        return "position_ids" in names or getattr(self.config.get_text_config(), "rope_parameters", None) is not None

    def _types_of(self, input_ids: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
        if given is not None and "token_type_ids" not in self.session.inputs and bool(given.any()):
            what = "the graph has no input token_type_ids, and cannot tell the texts of a pair apart"
            remedy = "export it again with input_ids, attention_mask and token_type_ids"
            raise InputError(what, where=str(self.session.path), remedy=remedy)
        return torch.zeros_like(input_ids) if given is None else given

    @property
    def _cached_names(self) -> list[str]:
        return [graph_fit.PAST.format(layer, part) for layer in range(self._layers) for part in ("key", "value")]

    def _past_of(self, cache: Any) -> Tensors:
        """Keys and values of each layer in the order of `_cached_names`; of a graph without a cache, the ids read so far."""
        if cache is None or not cache.get_seq_length():
            return []
        if not self._layers:
            return [cache.layers[0].keys]
        return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]

    def _empty(self, rows: int) -> dict[str, torch.Tensor]:
        """Keys and values of no tokens."""
        shapes = {name: _nothing(self.session.inputs[name], self.config) for name in self._cached_names}
        return {name: torch.zeros((rows, *shape)) for name, shape in shapes.items()}


def _cache(cached: Tensors) -> DynamicCache:
    """The tensors as transformers keeps them: pairs of keys and values, or ids in the place of both."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(zip(cached[::2], cached[1::2] or cached, strict=True)):
        cache.update(keys, values, layer)
    return cache


def _spread(rows: Tensors, kept: torch.Tensor, dim: int) -> torch.Tensor:
    """Tensors of one row each, put where `kept` (rows, tokens) has their tokens, which are along `dim`; zeros elsewhere."""
    shape = list(rows[0].shape)
    shape[0], shape[dim] = kept.shape
    found = torch.zeros(shape, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        found[index].movedim(dim - 1, 0)[kept[index]] = row[0].movedim(dim - 1, 0)
    return found


def _nothing(shape: tuple[Any, ...], config: Any) -> tuple[int, int, int]:
    """The shape (heads, 0 tokens, width) of an empty cache: by the graph, or where that leaves it open by the configuration."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return shape[1] if isinstance(shape[1], int) else heads, 0, shape[3] if isinstance(shape[3], int) else width


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Of each token within its row's text, (batch, tokens), as transformers counts them; of padding 0."""
    return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)
