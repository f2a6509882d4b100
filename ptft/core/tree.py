"""Token sequences that begin alike as one tree, so that what they share runs through a model once.

A node sees itself and its ancestors, and stands where it stood in its sequence: the mask of "tree attention" (SpecInfer, Miao et
al. 2023, arXiv:2305.09781), here over the answers that a question may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ids = Sequence[int]


@dataclass(frozen=True)
class Tree:
    """Nodes in an order in which parents come first. tokens, parents (-1: none), places (in the sequence): one each a node.

    ends: of each sequence, the nodes that its tokens from the first scored one on are predicted from, and those tokens.
    """

    tokens: list[int]
    parents: list[int]
    places: list[int]
    ends: list[tuple[list[int], list[int]]]

    @cached_property
    def stem(self) -> int:
        """How many nodes come before the first branch."""
        return next((node for node, parent in enumerate(self.parents) if parent != node - 1), len(self.parents))

    @property
    def is_chain(self) -> bool:
        return self.stem == len(self.tokens)

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which nodes each node sees, shape (nodes, nodes)."""
        found = np.tri(len(self.tokens), dtype=np.bool_)
        for node in range(self.stem, len(self.tokens)):
            parent = self.parents[node]
            found[node] = found[parent] if parent >= 0 else False
            found[node, node] = True
        return found

    @cached_property
    def used(self) -> list[int]:
        """The nodes that something is predicted from."""
        return sorted({node for nodes, _ in self.ends for node in nodes})


def tree_of(sequences: Sequence[tuple[Ids, int]]) -> Tree:
    """sequences: (token ids, how many of them are context, at least 1); the rest is scored, and is at least one token."""
    tree = Tree([], [], [], [])
    children: dict[tuple[int, int], int] = {}
    for ids, context in sequences:
        path = _path(tree, children, ids)
        tree.ends.append((path[context - 1 :], list(ids[context:])))
    return tree


def _path(tree: Tree, children: dict[tuple[int, int], int], ids: Ids) -> list[int]:
    """The nodes of all tokens but the last, which nothing is predicted from."""
    node, path = -1, []
    for place, token in enumerate(ids[:-1]):
        found = children.setdefault((node, token), len(tree.tokens))
        if found == len(tree.tokens):
            tree.tokens.append(token)
            tree.parents.append(node)
            tree.places.append(place)
        node = found
        path.append(node)
    return path


def shared(one: Ids, other: Ids) -> int:
    """How many tokens two sequences begin with alike."""
    size = min(len(one), len(other))
    differs = np.flatnonzero(np.asarray(one[:size]) != np.asarray(other[:size]))
    return int(differs[0]) if len(differs) else size
