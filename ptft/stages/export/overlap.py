"""Calibration rows that are in the verification data too: an export made with them would be judged on what it was made with.

A row overlaps where it is a copy of the other but for case, width, spaces and punctuation; where a fifth of the words of either
lie in runs that both have (13 words: Brown et al. 2020, C; a fifth: Touvron et al. 2023, A.6); or where those runs are 50 words
(Lee et al. 2022: 50 tokens). Of Chinese, Japanese and Korean two characters are a word. Words of the template of many rows count
as nobody's. Less than that is what reports of one event, or two uses of a proverb, have in common. Rows of fewer than 4 words
("OK", "是") are equal by chance and count only where the files are the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ptft.core.errors import InputError
from ptft.core.files import Source, hash_file
from ptft.core.minhash import U64, Tokens, ngrams, token_spans, tokenise
from ptft.core.ngrams import Known, hits
from ptft.core.rows import Rejected, RejectLog
from ptft.core.shared_runs import SHORTEST_WHOLE, WORDS, Search, Wanted, template_rows, tokens_a_word

if TYPE_CHECKING:
    from ptft.stages.export.rows import Texts

SHARE = 0.2  # of a row's words
LONG = 50  # words
TEMPLATE_WORDS = 5  # in a run that many rows have
FEW = 3  # rows: of files with so few that none is "many", a template is in at least so many of each, and in half
_GAP = " … "  # where a template was
_MOST_SHOWN = 120  # characters
# <|im_start|>user, <start_of_turn>, [INST], <s>: what chat templates put around messages
_MARKERS = re.compile(
    r"<\|[^<>|\n]{1,40}\|>(?:\s*(?:system|user|assistant|tool|model)\b)?|</?[a-z_]{1,20}>|\[/?[A-Z_]{2,20}\]"
)
_NOT_LETTERS = re.compile(r"[\W_]+")

Place = tuple[str, int]


@dataclass(frozen=True)
class Pair:
    """Two rows that overlap, where they are, and (the beginning of) what they share. row: the first one's number."""

    row: int
    calibration: Place
    verification: Place
    text: str


def refuse_same_file(calibration: Sequence[Source], verification: Sequence[Source]) -> None:
    """Raise `InputError` where a file, by its content, is given for both."""
    hashes = {hash_file(source.path): source.path for source in verification if source.path.is_file()}
    for path in (source.path for source in calibration if source.path.is_file()):
        other = hashes.get(hash_file(path))
        if other is not None:
            what = "the same file" if path.resolve() == other.resolve() else f"of the same content as {other}"
            message = f"--calibration and --verify are {what}: an export would be judged on rows that it was made with"
            remedy = (
                f"hold rows out: ptft split {path} -o DIR, then --calibration DIR/train.jsonl --verify DIR/test.jsonl"
            )
            raise InputError(message, where=str(path), remedy=remedy)


def held_out(calibration: Texts, verification: Texts, log: RejectLog) -> Texts:
    """The calibration rows without those that overlap, which go to the log as bad rows do.

    Raises `InputError` where more of them overlap than the log allows to be bad.
    """
    pairs = () if calibration.built_in or verification.built_in else shared(calibration, verification)
    if len(pairs) > log.max_bad_rows * len(calibration.texts):
        raise _refusal(pairs, len(calibration.texts))
    gone = {pair.row: pair for pair in pairs}
    for row, pair in gone.items():
        (file, line), (other_file, other_line) = pair.calibration, pair.verification
        log.ok(-1)  # it was counted as a good one when it was read
        log.reject(Rejected(file, line, f"overlaps {other_file}:{other_line}: {pair.text}", calibration.texts[row]))
    return _without(calibration, set(gone))


def _without(texts: Texts, rows: Collection[int]) -> Texts:
    lists = {field.name: getattr(texts, field.name) for field in fields(texts)}
    kept: dict[str, Any] = {
        name: [item for row, item in enumerate(value) if row not in rows]
        for name, value in lists.items() if isinstance(value, list)
    }  # fmt: skip
    return replace(texts, **kept)


def shared(calibration: Texts, verification: Texts) -> tuple[Pair, ...]:
    """Each calibration row that overlaps, in order, with the first row of the verification data that it was found in."""
    ours, theirs = (_plain(texts) for texts in (calibration, verification))
    found = dict(_in_runs(ours, theirs))
    found |= {row: (other, ours[row]) for row, other in _copies(ours, theirs)}
    return tuple(
        Pair(row, calibration.places[row], verification.places[other], _shown(text))
        for row, (other, text) in sorted(found.items())
    )


def _plain(texts: Texts) -> list[str]:
    """Both texts of a pair, characters in their usual width, without the markers of a chat."""
    pairs = texts.pairs or [""] * len(texts.texts)
    joined = (f"{text}\n{pair}" if pair else text for text, pair in zip(texts.texts, pairs, strict=True))
    return [_MARKERS.sub("\n", unicodedata.normalize("NFKC", text)).strip() for text in joined]


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


# ---------------------------------------------------------------- what is said


def _refusal(pairs: Sequence[Pair], rows: int) -> InputError:
    (file, line), (other_file, other_line) = pairs[0].calibration, pairs[0].verification
    share = (
        f"{len(pairs):,} of the {rows:,} calibration rows" if len(pairs) > 1 else f"1 of the {rows:,} calibration rows"
    )
    what = (
        f"{share} overlap the verification data, first line {line} with {other_file}:{other_line}: “{pairs[0].text}”; an "
        "export would be judged on rows that it was made with"
    )
    remedy = (
        "hold rows out with `ptft split`, which keeps copies on one side; or take what is shared out: "
        f"ptft clean {file} --protect {other_file} -o DIR"
    )
    return InputError(what, where=f"{file}:{line}", remedy=remedy)


# ---------------------------------------------------------------- copies


def _copies(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Rows that are equal but for case, spaces and punctuation, as numbers."""
    known: dict[str, int] = {}
    for number, text in enumerate(theirs):
        known.setdefault(_letters(text), number)
    for number, text in enumerate(ours):
        if (key := _letters(text)) in known and _is_long(text):
            yield number, known[key]


def _letters(text: str) -> str:
    return _NOT_LETTERS.sub("", text.casefold())


def _is_long(text: str) -> bool:
    return len(token_spans(text)) >= SHORTEST_WHOLE * tokens_a_word(text)


# ---------------------------------------------------------------- runs


def _in_runs(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, tuple[int, str]]]:
    """Rows of ours that share runs of words with one of theirs, that one, and a run; each way round, for a short row in a long one."""
    ours, theirs = _without_templates(ours, theirs)
    for number, other, text in _mostly_in(theirs, ours):
        yield other, (number, text)
    for number, other, text in _mostly_in(ours, theirs):
        yield number, (other, text)


def _mostly_in(rows: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Rows of which enough is in the texts: a row's number, the first text that it was found in, and the run found there."""
    wanted = Wanted.of(((str(number), text) for number, text in enumerate(rows)), WORDS)
    search = Search(wanted)
    search.look(texts, [str(number) for number in range(len(texts))])
    there, of = search.counts()
    for found in search.found():
        number = int(found.id)
        factor = tokens_a_word(rows[number])
        beyond = WORDS * factor - 1  # tokens of a stretch that begin no run
        if found.share >= SHARE or there[number] + beyond >= min(LONG * factor, SHARE * (of[number] + beyond)):
            yield number, int(found.file), found.text


# ---------------------------------------------------------------- templates


def _without_templates(ours: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both sides with what stands in many rows of either cut out."""
    sides = [(texts, tokenise(texts)) for texts in (ours, theirs)]
    made = [list(ours), list(theirs)]
    for factor in (1, 2):
        size = TEMPLATE_WORDS * factor
        template = _template(sides[0][1], sides[1][1], size)
        if len(template):
            for cut, (texts, tokens) in zip(made, sides, strict=True):
                for number, covered in _covered(tokens, size, template):
                    if tokens_a_word(texts[number]) == factor:
                        cut[number] = _cut(texts[number], covered)
    return made[0], made[1]


def _template(ours: Tokens, theirs: Tokens, size: int) -> U64:
    """Hashes of the runs that are in many rows of a side; of small sides, in half of the rows of each. In order."""
    sides = (ours, theirs)
    counted = [_rows_of_runs(tokens, size) for tokens in sides]
    many = [hashes[rows > template_rows(len(tokens))] for (hashes, rows), tokens in zip(counted, sides, strict=True)]
    half = [hashes[rows >= max(FEW, len(tokens) / 2)] for (hashes, rows), tokens in zip(counted, sides, strict=True)]
    found: U64 = np.union1d(np.union1d(many[0], many[1]), np.intersect1d(half[0], half[1]))
    return found


def _rows_of_runs(tokens: Tokens, size: int) -> tuple[U64, npt.NDArray[np.int64]]:
    """Hashes of runs, and how many rows have each."""
    each = [np.unique(ngrams(tokens.of(row)[0], size)) for row in range(len(tokens))]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *each]), return_counts=True)


def _covered(tokens: Tokens, size: int, template: U64) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Rows that have runs of the template, and which of their tokens lie in one: (tokens,)."""
    covered = np.zeros(len(tokens.hashes), bool)
    rows: set[int] = set()
    for found in hits(tokens, {size: Known(template)}):
        covered[(found.starts[:, None] + np.arange(size)).reshape(-1)] = True
        rows |= set((np.searchsorted(tokens.offsets, found.starts, "right") - 1).tolist())
    for row in sorted(rows):
        yield row, covered[tokens.offsets[row] : tokens.offsets[row + 1]]


def _cut(text: str, covered: npt.NDArray[np.bool_]) -> str:
    """What is left of a text, with a gap for every stretch that was covered."""
    spans = token_spans(text)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], covered, [False]]).astype(np.int8)))
    kept, last = [], 0
    for start, end in edges.reshape(-1, 2).tolist():
        kept.append(text[last : spans[start][0]])
        last = spans[end - 1][1]
    return _GAP.join([*kept, text[last:]])
