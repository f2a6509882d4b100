"""A model's outputs on texts: the likelihood of each text, the class of each row. Batches change speed, never scores (beyond the rounding of the dtype)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptft.core.batches import Batches, room_for
from ptft.core.encoding import Encoded, encode_texts
from ptft.core.errors import InputError
from ptft.core.models import Loaded, token_bytes
from ptft.core.output_layer import logits_at, makes_all_logits
from ptft.core.weights import is_quantised

if TYPE_CHECKING:
    import numpy.typing as npt

LONGEST_CONTEXT = 2048  # of windows, where the user names none: models made for 128k tokens would fill any memory
UNCUT = 2**30  # tokens: longer than any row
Prefix = Literal["auto", "yes", "no"]  # whether a text's first token is scored, after a token that begins texts


@dataclass(frozen=True)
class Windows:
    """How a long text is cut: windows of `context` tokens, each scoring the `stride` tokens that none before it scored."""

    context: int
    stride: int

    def over(self, count: int) -> Iterator[tuple[int, int, int]]:
        """(begin, first, end) of each window over `count` tokens: tokens first..end-1 are scored after begin..end-2.

        Token 0 has nothing before it and is never scored; every other token is scored exactly once.
        """
        first = 1
        while first < count:
            end = min(count, first + (self.context if first == 1 else self.stride))
            yield max(0, end - 1 - self.context), first, end
            first = end


def windows_for(loaded: Loaded, context: int = 0, stride: int = 0) -> Windows:
    """context 0: what the model takes, at most `LONGEST_CONTEXT`; stride 0: half of it."""
    context = min(loaded.seq_len, context or LONGEST_CONTEXT)
    return Windows(context, min(stride, context) or max(1, context // 2))


@dataclass(frozen=True)
class TextScore:
    """nll: nats over `tokens` scored tokens, which stand for `bytes` UTF-8 bytes of the text."""

    nll: float
    tokens: int
    bytes: int


def dtype_here(folder: Path) -> str:
    """What to compute in: as stored on a GPU and for exports; on a CPU float32, where bfloat16 is many times slower."""
    import torch

    return "auto" if is_quantised(folder) or torch.cuda.is_available() else "float32"


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a beginning-of-text token before a text on its own."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def prefix_id(tokenizer: Any) -> int | None:
    """What a text's first token is scored after where it has nothing before it: BOS, else EOS, as lm-evaluation-harness does."""
    found = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return None if found is None else int(found)


def begins_with(tokenizer: Any, prefix: Prefix) -> list[int]:
    """The token, if any, that texts begin with. Raises `InputError` where one is asked for and the tokenizer has none."""
    if prefix == "no" or (prefix == "auto" and not adds_bos(tokenizer)):
        return []
    found = prefix_id(tokenizer)
    if found is None:
        remedy = "leave the first token unscored: --set prefix=no"
        raise InputError("the tokenizer has neither a beginning-of-text nor an end-of-text token", remedy=remedy)
    return [found]


def score_texts(
    loaded: Loaded, texts: Sequence[str], windows: Windows, batch_size: int, prefix: Prefix = "auto"
) -> list[TextScore]:
    """The likelihood of each text, apart from all others: every token but the first is scored once.

    prefix "yes": the first token is scored too, after BOS or EOS; "auto": where the tokenizer adds BOS. bytes are those of
    the scored part.
    """
    begin = begins_with(loaded.tokenizer, prefix)
    plain = loaded.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    ids = [begin + row for row in plain]
    nll = sum_nll(loaded, ids, [list(windows.over(len(row))) for row in ids], batch_size)
    sizes = token_bytes(loaded.tokenizer)
    scores = []
    for text, row, total in zip(texts, plain, nll, strict=True):
        unscored = 0 if begin or not row else int(sizes[row[0]])
        scores.append(TextScore(total, max(0, len(row) - (not begin)), max(0, len(text.encode()) - unscored)))
    return scores


@dataclass(frozen=True)
class Response:
    """A conversation as token ids; ids[first:] is the answer, its end of turn included. bytes: of the answer's text."""

    ids: list[int]
    first: int
    bytes: int


def score_responses(loaded: Loaded, responses: Sequence[Response], context: int, batch_size: int) -> list[TextScore]:
    """The likelihood of each answer after what was asked; what does not fit the context before it is not seen."""
    windows = Windows(context, max(1, context // 2))
    spans = [
        [(begin, max(first, row.first), end) for begin, first, end in windows.over(len(row.ids)) if end > row.first]
        for row in responses
    ]
    nll = sum_nll(loaded, [row.ids for row in responses], spans, batch_size)
    return [
        TextScore(total, len(row.ids) - max(1, row.first), row.bytes) for total, row in zip(nll, responses, strict=True)
    ]


def sum_nll(
    loaded: Loaded, ids: Sequence[list[int]], spans: Sequence[Sequence[tuple[int, int, int]]], batch_size: int
) -> list[float]:
    """Nats of each row's spans, see `Windows.over`. Raises `InputError` where the model's outputs are not finite."""
    flat = [(row, *span) for row, row_spans in enumerate(spans) for span in row_spans]
    totals = np.zeros(len(ids))
    lengths = [end - 1 - begin for _, begin, _, end in flat]
    made = lengths if makes_all_logits(loaded.model) else [end - first for _, _, first, end in flat]
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    batches = Batches(lengths, batch_size, room_for(loaded.model), [count * vocabulary for count in made])
    for chosen in batches:
        with batches.fitting(chosen):
            windows = [flat[index] for index in chosen]
            nll = _nll(loaded, [(ids[row][begin:end], first - begin) for row, begin, first, end in windows])
            np.add.at(totals, [row for row, *_ in windows], nll)
    refuse_not_finite(totals, loaded)
    return [float(total) for total in totals]


def _nll(loaded: Loaded, parts: Sequence[tuple[list[int], int]]) -> list[float]:
    """Nats of each part's tokens from its `first` on, in one forward pass."""
    import torch

    device = loaded.model.device
    # padded on the right, which a causal model cannot see from the left: no mask needed
    batch = torch.tensor(_padded([tokens[:-1] for tokens, _ in parts], 0), device=device)
    places = [
        (row, column) for row, (tokens, first) in enumerate(parts) for column in range(first - 1, len(tokens) - 1)
    ]
    rows, columns = torch.tensor(places, device=device).T
    with torch.inference_mode():
        logits, _ = logits_at(loaded.model, {"input_ids": batch}, rows, columns)
        found, start = [], 0
        for tokens, first in parts:
            scored = logits[start : start + len(tokens) - first].float()
            targets = torch.tensor(tokens[first:], device=scored.device)
            found.append(float(torch.nn.functional.cross_entropy(scored, targets, reduction="sum")))
            start += len(tokens) - first
    return found


def classify(loaded: Loaded, encoded: Sequence[Encoded], batch_size: int) -> npt.NDArray[np.float32]:
    """What the head says of tokenized rows: shape (rows, labels), float32; one column of a number."""
    # a model that pools the last token and does not know its padding token takes one row at a time
    size = 1 if loaded.model.config.pad_token_id is None else batch_size
    found = np.zeros((len(encoded), len(loaded.labels)), dtype=np.float32)
    for chosen, outputs in outputs_of(loaded, encoded, size):
        found[chosen] = outputs.logits.float().cpu().numpy()
    refuse_not_finite(found, loaded)
    return found


def outputs_of(loaded: Loaded, rows: Sequence[Encoded], batch_size: int) -> Iterator[tuple[list[int], Any]]:
    """(the rows' numbers, the model's outputs) of every batch, rows padded on the right and masked there."""
    batches = Batches([len(row["input_ids"]) for row in rows], batch_size, room_for(loaded.model))
    for chosen in batches:
        outputs = None
        with batches.fitting(chosen):
            outputs = _outputs(loaded, [rows[index] for index in chosen])
        if outputs is not None:
            yield chosen, outputs


def _outputs(loaded: Loaded, rows: Sequence[Encoded]) -> Any:
    import torch

    pad = loaded.model.config.pad_token_id or 0
    batch = {name: _padded([row[name] for row in rows], pad if name == "input_ids" else 0) for name in rows[0]}
    batch["attention_mask"] = _padded([[1] * len(row["input_ids"]) for row in rows], 0)
    given = {name: torch.tensor(ids, device=loaded.model.device) for name, ids in batch.items()}
    with torch.inference_mode():
        return loaded.model(**given)


def encode_cut(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_len: int
) -> tuple[list[Encoded], list[int]]:
    """`encode_texts`, and which rows were longer; only those are tokenized twice."""
    rows = encode_texts(tokenizer, texts, pairs, UNCUT)
    long = [index for index, row in enumerate(rows) if len(row["input_ids"]) > max_len]
    second = None if pairs is None else [pairs[index] for index in long]
    for index, row in zip(long, encode_texts(tokenizer, [texts[i] for i in long], second, max_len), strict=True):
        rows[index] = row
    return rows, long


def _padded(rows: Sequence[Sequence[int]], value: int) -> npt.NDArray[np.int64]:
    longest = max(map(len, rows))
    return np.array([[*row, *[value] * (longest - len(row))] for row in rows], dtype=np.int64)


def refuse_not_finite(values: Any, loaded: Loaded) -> None:
    """Raise `InputError` where a model's outputs (an array on the CPU) hold NaN or infinity."""
    if not np.isfinite(values).all():
        remedy = "its training diverged or its weights are damaged: use an earlier checkpoint, or train it again"
        raise InputError(
            "the model's outputs are not finite (NaN or infinity)", where=str(loaded.folder), remedy=remedy
        )
