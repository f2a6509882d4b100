"""Where two texts differ: by characters in writing without spaces, by words elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from ptft.core.metrics.writing import UNSPACED
from ptft.core.progress import Piece

MOST = 800  # tokens that are compared: difflib takes quadratic time
_TOKEN = re.compile(rf"(?:(?![{UNSPACED}])\w)+|\s+|.", re.DOTALL)  # a word, spaces, or a character alone


def differing(reference: str, prediction: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; marked is what the other does not have at that place. Behind `MOST` tokens nothing is marked."""
    sides = tuple(_TOKEN.findall(text) for text in (reference, prediction))
    wanted, made = (tokens[:MOST] for tokens in sides)
    found: tuple[list[Piece], list[Piece]] = ([], [])
    for kind, start, end, other_start, other_end in SequenceMatcher(None, wanted, made, autojunk=False).get_opcodes():
        for side, tokens in ((found[0], wanted[start:end]), (found[1], made[other_start:other_end])):
            if tokens:
                side.append(Piece("".join(tokens), kind != "equal"))
    for side, tokens in zip(found, sides, strict=True):
        if tokens[MOST:]:
            side.append(Piece("".join(tokens[MOST:]), False))
    return found


def closest(references: Sequence[str], prediction: str) -> str:
    """The reference that shares the most tokens with the prediction."""
    made = set(_TOKEN.findall(prediction[:2000]))
    return max(references, key=lambda text: _overlap(set(_TOKEN.findall(text[:2000])), made), default="")


def _overlap(wanted: set[str], made: set[str]) -> float:
    return len(wanted & made) / max(1, len(wanted | made))


def divided(pieces: Sequence[Piece], most: int) -> tuple[list[Piece], list[Piece]]:
    """The first `most` characters, and the rest."""
    first: list[Piece] = []
    room = most
    for number, piece in enumerate(pieces):
        if len(piece.text) > room:
            head, tail = Piece(piece.text[:room], piece.marked), Piece(piece.text[room:], piece.marked)
            return [*first, *([head] if room else [])], [tail, *pieces[number + 1 :]]
        first.append(piece)
        room -= len(piece.text)
    return first, []
