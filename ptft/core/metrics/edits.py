"""Edits of the translation edit rate: the same numbers as sacrebleu's `lib_ter` in a fiftieth of its time.

Snover et al. 2006: words are shifted as long as that lowers the edit distance by more than nothing, then the distance is
counted. Distances are by bit vectors, and a shift is tried only where it could still be the best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

Words = Sequence[str]
Line = tuple[int, int, int]  # a row of the table of distances: its first, bits where it grows, and where it falls
Lines = list[Line]
Shift = tuple[int, int, int]  # length, -start, -target: ordered as Tercom prefers them

_MOST_SHIFTED, _FARTHEST, _MOST_TRIED = 10, 50, 1000  # limits of Tercom (two) and of sacrebleu
_BEAM = 25  # sacrebleu looks no farther off the diagonal
_WITHIN_BEAM = 46  # distance and difference of lengths, up to which no shortest path leaves that beam
_NEVER = 10**9


def edits(written: Words, wanted: Words) -> int:
    """Shifts, insertions, deletions and substitutions that make `written` be `wanted`."""
    if not wanted:
        return len(written)
    table = _Table(wanted)
    lines = table.lines(written)
    # no order of the words comes nearer than this
    least = max(len(written), len(wanted)) - (Counter(written) & Counter(wanted)).total()
    if table.distance(lines) + abs(len(written) - len(wanted)) > _WITHIN_BEAM:
        # distances along the beam alone obey no such laws
        table, least = _Beam(wanted, len(written)), -_NEVER
        lines = table.lines(written)
    shifts = tried = 0
    while table.distance(lines) > least:
        candidates, tried = _candidates(written, table, lines, tried)
        moved = _best(written, table, lines, candidates, least)
        if moved is None or tried >= _MOST_TRIED:
            break
        written, shifts = moved, shifts + 1
        lines = table.lines(written)
    return shifts + table.distance(lines)


class _Table:
    """Edit distances to one text."""

    def __init__(self, wanted: Words) -> None:
        self.wanted = wanted
        self.places: dict[str, list[int]] = {}
        for place, word in enumerate(wanted):
            self.places.setdefault(word, []).append(place)
        self.bits = {word: sum(1 << place for place in places) for word, places in self.places.items()}

    def lines(self, words: Words) -> Lines:
        """Rows of the table (Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein distances").

        Entry (i, j), the distance between i words and j wanted ones, is the row's first + the bits below j that grow
        - those that fall.
        """
        found = [(0, (1 << len(self.wanted)) - 1, 0)]
        for word in words:
            found.append(self.step(word, found[-1], len(found)))
        return found

    def step(self, word: str, line: Line, number: int) -> Line:
        first, grows, falls = line
        return first + 1, *_grown(self.bits.get(word, 0), grows, falls, (1 << len(self.wanted)) - 1)

    def after(self, words: Words, line: Line, number: int) -> int:
        """The distance of a text whose first `number` words end in that line and go on with `words`."""
        _, grows, falls = line
        bits, every = self.bits, (1 << len(self.wanted)) - 1
        for word in words:
            grows, falls = _grown(bits.get(word, 0), grows, falls, every)
        return number + len(words) + grows.bit_count() - falls.bit_count()

    def entry(self, lines: Lines, i: int, j: int) -> int:
        first, grows, falls = lines[i]
        below = (1 << j) - 1
        return first + (grows & below).bit_count() - (falls & below).bit_count()

    def distance(self, lines: Lines) -> int:
        first, grows, falls = lines[-1]
        return first + grows.bit_count() - falls.bit_count()


class _Beam(_Table):
    """Distances along paths within sacrebleu's beam; a row begins at the first place inside it."""

    def __init__(self, wanted: Words, words: int) -> None:
        super().__init__(wanted)
        ratio = len(wanted) / words if words else 1
        width = math.ceil(ratio / 2 + _BEAM) if ratio / 2 > _BEAM else _BEAM
        middles = (math.floor(number * ratio) for number in range(1, words + 1))
        inside = [(max(0, middle - width), min(len(wanted) + 1, middle + width)) for middle in middles]
        self.band = [(0, len(wanted) + 1), *inside]  # where each row begins, and where it has ended
        self.band[-1] = self.band[-1][0], len(wanted) + 1

    def step(self, word: str, line: Line, number: int) -> Line:
        first, grows, falls = line
        (begins, ended), (begin, end) = self.band[number - 1 : number + 1]
        drop = max(begin - begins - 1, 0)
        first, grows, falls = _dropped(first, grows, falls, drop)
        start = begins + drop
        every = (1 << len(self.wanted) - start) - 1
        grows, falls = _grown(self.bits.get(word, 0) >> start, grows, falls, every)
        # new places beyond the first have nothing above them: each is one more than the place before it
        known = (1 << min(ended + 1, end) - 1 - start) - 1
        return _dropped(first + 1, grows & known | every & ~known, falls & known, int(begin > begins))

    def after(self, words: Words, line: Line, number: int) -> int:
        for further, word in enumerate(words, number + 1):
            line = self.step(word, line, further)
        return self.distance([line])

    def entry(self, lines: Lines, i: int, j: int) -> int:
        begin, end = self.band[i]
        return super().entry(lines, i, j - begin) if begin <= j < end else _NEVER


def _grown(equal: int, grows: int, falls: int, every: int) -> tuple[int, int]:
    """The row after, of a word that equals the wanted words at those bits."""
    same = (((equal & grows) + grows) ^ grows) | equal | falls
    right = (falls | (every & ~(same | grows))) << 1 | 1
    return (((same & grows) << 1) | ~(same | right)) & every, right & same & every


def _dropped(first: int, grows: int, falls: int, drop: int) -> Line:
    """The row without its first `drop` places."""
    if not drop:
        return first, grows, falls
    below = (1 << drop) - 1
    return first + (grows & below).bit_count() - (falls & below).bit_count(), grows >> drop, falls >> drop


def _alignment(written: Words, table: _Table, lines: Lines) -> tuple[list[int], list[int], list[int]]:
    """The place in `written` that each wanted word falls on or after, and running counts of errors on either side.

    At a tie substitution goes before deletion, and deletion before insertion, as in sacrebleu.
    """
    i, j = len(written), len(table.wanted)
    places, wrong_written, wrong_wanted = [0] * j, [0] * i, [0] * j

    here = table.entry(lines, i, j)
    while i or j:
        different = i > 0 and j > 0 and written[i - 1] != table.wanted[j - 1]
        if i and j and table.entry(lines, i - 1, j - 1) + different == here:
            i, j = i - 1, j - 1
            places[j], wrong_written[i], wrong_wanted[j] = i, different, different
            here -= different
        elif i and (not j or table.entry(lines, i - 1, j) + 1 == here):
            i, here = i - 1, here - 1
            wrong_written[i] = 1
        else:
            j, here = j - 1, here - 1
            places[j], wrong_wanted[j] = i - 1, 1
    return places, [0, *accumulate(wrong_written)], [0, *accumulate(wrong_wanted)]


def _candidates(written: Words, table: _Table, lines: Lines, tried: int) -> tuple[set[Shift], int]:
    """Shifts that Tercom would try, and how many were tried so far (one found twice is counted twice)."""
    places, wrong_written, wrong_wanted = _alignment(written, table, lines)
    found: set[Shift] = set()
    for start, at, length in _pairs(written, table):
        if wrong_written[start] == wrong_written[start + length] or wrong_wanted[at] == wrong_wanted[at + length]:
            continue
        if start <= places[at] < start + length:
            continue
        before = -1
        for place in range(at - 1, min(at + length, len(places))):
            target = 0 if place < 0 else places[place] + 1
            if target != before:
                found.add((length, -start, -target))
                tried += 1
                before = target
        if tried >= _MOST_TRIED:
            break
    return found, tried


def _pairs(written: Words, table: _Table) -> Iterator[tuple[int, int, int]]:
    """Equal stretches: start in `written`, start in the wanted text, length."""
    wanted = table.wanted
    for start, word in enumerate(written):
        for at in table.places.get(word, ()):
            if abs(at - start) > _FARTHEST:
                continue
            most = min(_MOST_SHIFTED, len(written) - start, len(wanted) - at)
            length = 1
            while True:
                yield start, at, length
                if length == most or written[start + length] != wanted[at + length]:
                    break
                length += 1


def _best(written: Words, table: _Table, lines: Lines, candidates: set[Shift], least: int) -> list[str] | None:
    """The text after the shift that lowers the distance most; None where none lowers it."""
    now = table.distance(lines)
    # a shift of n words over m words is at most min(n, m) deletions and as many insertions
    most = (min(2 * min(shift[0], _over(shift)), now - least) if least >= 0 else _NEVER for shift in candidates)
    hopes = sorted(((gain, *shift) for gain, shift in zip(most, candidates, strict=True)), reverse=True)
    best: tuple[int, int, int, int] = (1, 0, 0, -len(written) - 1)
    moved = None
    for hope in hopes:
        if hope < best:
            break
        words = _moved(written, hope[1:])
        same = min(-hope[2], -hope[3])
        gain = now - table.after(words[same:], lines[same], same)
        if (gain, *hope[1:]) > best:
            best, moved = (gain, *hope[1:]), words
    return moved


def _over(shift: Shift) -> int:
    """How many words the shift passes."""
    length, start, target = shift[0], -shift[1], -shift[2]
    return start - target if target < start else target - start - length if target > start + length else target - start


def _moved(words: Words, shift: Shift) -> list[str]:
    length, start, target = shift[0], -shift[1], -shift[2]
    block, rest = list(words[start : start + length]), [*words[:start], *words[start + length :]]
    if target > start + length:
        target -= length
    return [*rest[:target], *block, *rest[target:]]
