"""How likely a causal model finds each of several continuations of a context."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ptft.core.batches import Batches, room_for
from ptft.core.models import Loaded
from ptft.core.output_layer import logits_at, makes_all_logits
from ptft.core.scoring import refuse_not_finite
from ptft.core.tree import Tree, shared, tree_of

Pair = tuple[Sequence[int], Sequence[int]]  # token ids of a context and of what follows it, at least one each
SHORTEST_PREFIX = 32  # tokens that rows share, below which keeping them costs more than it saves
PREFIX_COST = 8  # a token that is only looked back at costs this much less than one that is computed


@dataclass(frozen=True)
class Scored:
    """loglikelihood: nats of the continuation. likeliest: those of the likeliest token at each of its places (equal where the
    continuation is them), and greedy: these tokens. cut: tokens of context lost.
    """

    loglikelihood: float
    likeliest: float
    greedy: tuple[int, ...]
    cut: int = 0


def score_continuations(
    loaded: Loaded, rows: Sequence[Sequence[Pair]], batch_size: int, context: int = 0, *, plain: bool = False
) -> list[list[Scored]]:
    """Each row's continuations, in order. context: tokens that the model sees (0: what it takes); what is before them is cut off.

    What a row's pairs begin with runs once, and so does what many rows begin with (the same solved examples): by a mask that
    shows a token its own past alone. plain: every sequence by itself, as for models that do not take such a mask: sliding
    windows, ALiBi, other runtimes. The two agree to rounding.
    Raises `InputError` where the model's outputs are not finite.
    """
    limit = context or loaded.seq_len
    cut = [[_cut(*pair, limit) for pair in row] for row in rows]
    together = not plain and takes_trees(loaded)
    owners, trees = _trees(cut, together)
    answers = _Run(loaded, trees, batch_size).answers(with_prefix=together)
    scores: dict[tuple[int, int], Scored] = {}
    for members, found in zip(owners, answers, strict=True):
        scores.update(zip(members, found, strict=True))
    refuse_not_finite(np.array([score.loglikelihood for score in scores.values()]), loaded)
    return [
        [replace(scores[row, place], cut=lost) for place, (_, _, lost) in enumerate(pairs)]
        for row, pairs in enumerate(cut)
    ]


def _cut(context: Sequence[int], continuation: Sequence[int], limit: int) -> tuple[list[int], int, int]:
    """(token ids, how many of them are context, tokens lost from the left): the last token is predicted, and not seen."""
    whole = [*context, *continuation]
    lost = max(0, len(whole) - (limit + 1))
    return whole[lost:], max(1, len(context) - lost), lost


def _trees(
    cut: Sequence[Sequence[tuple[list[int], int, int]]], together: bool
) -> tuple[list[list[tuple[int, int]]], list[Tree]]:
    """Trees, and the (row, continuation) of each sequence in them. Apart, sequences that differ in their last token are still one."""
    groups: dict[Any, list[tuple[int, int]]] = {}
    for row, pairs in enumerate(cut):
        for place, (ids, *_) in enumerate(pairs):
            groups.setdefault(row if together else (row, *ids[:-1]), []).append((row, place))
    owners = list(groups.values())
    return owners, [tree_of([cut[row][place][:2] for row, place in members]) for members in owners]


class _Run:
    """The trees of one call through the model."""

    def __init__(self, loaded: Loaded, trees: Sequence[Tree], batch_size: int) -> None:
        self.loaded, self.trees, self.batch_size = loaded, trees, batch_size
        self.found: list[list[Scored]] = [[] for _ in trees]

    def answers(self, *, with_prefix: bool) -> list[list[Scored]]:
        """Of each tree's sequences: nats, and the likeliest tokens."""
        begin, members = _common(self.trees) if with_prefix else ([], [])
        rest = sorted(set(range(len(self.trees))) - set(members))
        if members:
            self._score(members, begin)
        if rest:
            self._score(rest, [])
        return self.found

    def _score(self, members: Sequence[int], begin: Sequence[int]) -> None:
        cache = _cache_of(self.loaded, begin) if begin else None
        lengths = [len(self.trees[index].tokens) - len(begin) + len(begin) // PREFIX_COST for index in members]
        vocabulary = int(self.loaded.model.config.get_text_config().vocab_size)
        every = makes_all_logits(self.loaded.model)
        made = [len(self.trees[index].tokens if every else self.trees[index].used) for index in members]
        batches = Batches(lengths, self.batch_size, room_for(self.loaded.model), [count * vocabulary for count in made])
        for chosen in batches:
            with batches.fitting(chosen):
                batch = [self.trees[members[place]] for place in chosen]
                scored = _forward(self.loaded, batch, cache, len(begin))
                for place, answers in zip(chosen, scored, strict=True):
                    self.found[members[place]] = answers


# ---------------------------------------------------------------- one forward pass


def _forward(loaded: Loaded, trees: Sequence[Tree], cache: Any, skipped: int) -> list[list[Scored]]:
    """skipped: nodes at the beginning of each tree that the cache holds."""
    import torch

    device = loaded.model.device
    width = max(len(tree.tokens) for tree in trees) - skipped
    inputs = {"input_ids": torch.tensor([_padded(tree.tokens[skipped:], width) for tree in trees], device=device)}
    if cache is not None or not all(tree.is_chain for tree in trees):
        mask = np.stack([_mask(tree, skipped, width) for tree in trees])[:, None]
        places = [_padded(tree.places[skipped:], width) for tree in trees]
        inputs["attention_mask"] = _additive(torch.tensor(mask, device=device), loaded.model.dtype)
        inputs["position_ids"] = torch.tensor(places, device=device)
    if cache is not None:
        inputs["past_key_values"] = copy.deepcopy(cache)
        inputs["past_key_values"].batch_repeat_interleave(len(trees))
    used = [(row, node - skipped) for row, tree in enumerate(trees) for node in tree.used]
    with torch.inference_mode():
        logits, _ = logits_at(loaded.model, inputs, *torch.tensor(used, device=device).T)
        return _read(logits, trees)


def _read(logits: Any, trees: Sequence[Tree]) -> list[list[Scored]]:
    """logits: (used nodes of all trees, vocabulary). One tree's at a time in fp32, to keep memory low."""
    found, start = [], 0
    for tree in trees:
        line_of = {node: line for line, node in enumerate(tree.used)}
        chances = logits[start : start + len(line_of)].float().log_softmax(dim=-1)
        likeliest = chances.argmax(dim=-1).tolist()
        answers = []
        for nodes, targets in tree.ends:
            lines = [line_of[node] for node in nodes]
            greedy = [likeliest[line] for line in lines]
            # both sums from one tensor, so that equal numbers have equal sums
            total, likeliest_total = chances[[lines, lines], [targets, greedy]].double().sum(1).tolist()
            answers.append(Scored(total, likeliest_total, tuple(greedy)))
        found.append(answers)
        start += len(line_of)
    return found


def _padded(values: Sequence[int], width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]


def _mask(tree: Tree, skipped: int, width: int) -> npt.NDArray[np.bool_]:
    """What each place sees, shape (width, skipped + width); padding sees itself, as attention to nothing is not a number."""
    size = len(tree.tokens) - skipped
    found = np.zeros((width, skipped + width), dtype=np.bool_)
    found[np.arange(width), skipped + np.arange(width)] = True
    found[:size, : skipped + size] = tree.seen[skipped:]
    return found


def _additive(mask: Any, dtype: Any) -> Any:
    """0 where a place is seen, the least number elsewhere: what every kind of attention takes."""
    import torch

    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


# ---------------------------------------------------------------- what many rows begin with


def _common(trees: Sequence[Tree]) -> tuple[list[int], list[int]]:
    """The beginning that saves most when it is computed once, and the trees that have it."""
    best: tuple[int, list[int], list[int]] = (0, [], [])
    for index in {0, len(trees) // 2, len(trees) - 1} if len(trees) > 1 else ():
        alike = np.array([min(shared(trees[index].tokens, tree.tokens), tree.used[0]) for tree in trees])
        for size in np.unique(alike[alike >= SHORTEST_PREFIX]):
            members = np.flatnonzero(alike >= size)
            saved = int(size) * (len(members) - 1)
            if saved > best[0]:
                best = saved, trees[index].tokens[:size], members.tolist()
    return best[1], best[2]


def _cache_of(loaded: Loaded, begin: Sequence[int]) -> Any:
    """The keys and values of a beginning, for one row."""
    import torch

    ids = torch.tensor([list(begin)], device=loaded.model.device)
    nowhere = torch.tensor([0], device=ids.device)
    with torch.inference_mode():
        _, outputs = logits_at(loaded.model, {"input_ids": ids, "use_cache": True}, nowhere, nowhere)
    return outputs.past_key_values


# ---------------------------------------------------------------- which models take a tree

_TAKES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
PROBE = [((3, 4, 5, 6), (7, 8, 9)), ((3, 4, 5, 6), (8, 7)), ((3, 4, 5, 6), (7, 9, 8, 7))]
NEAR = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}  # of the log-likelihood, relative


def takes_trees(loaded: Loaded) -> bool:
    """Whether the model says the same of a tree as of its sequences, tried on a small one, once a model."""
    if not _may_take_trees(loaded.model):
        return False
    if loaded.model not in _TAKES:
        _TAKES[loaded.model] = _agrees(loaded)
    return _TAKES[loaded.model]


def _may_take_trees(model: Any) -> bool:
    """Not by a small try: a window that slides, or an adapter that learnt a prompt."""
    import torch

    if not isinstance(model, torch.nn.Module) or getattr(model, "dtype", None) is None:
        return False
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and getattr(adapter, "is_prompt_learning", False):
        return False
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds <= {"full_attention"} and (bool(kinds) or not slides)


def _agrees(loaded: Loaded) -> bool:
    """Any error means no: a family may not know a mask, positions or a cache."""
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    rows = [[([token % vocabulary for token in a], [token % vocabulary for token in b]) for a, b in PROBE]]
    sequences = [([*a, *b], len(a)) for a, b in rows[0]]
    tree = tree_of(sequences)
    try:
        apart = [_forward(loaded, [tree_of([one])], None, 0)[0][0].loglikelihood for one in sequences]
        as_tree = [score.loglikelihood for score in _forward(loaded, [tree], None, 0)[0]]
        cache = _cache_of(loaded, tree.tokens[:2])
        cached = [score.loglikelihood for score in _forward(loaded, [tree, tree], cache, 2)[1]]
    except Exception:
        return False
    near = NEAR.get(str(loaded.model.dtype).removeprefix("torch."), 5e-2)
    return np.allclose(as_tree, apart, rtol=near, atol=near) and np.allclose(cached, apart, rtol=near, atol=near)
