"""Text to tokens, shingles, MinHash signatures and LSH band keys, all as numpy arrays of a whole batch.

One tokenizer for every language: each Han, kana or hangul character is a token, each other run of letters and digits
(case folded) is one. A word at a time in Python, this is four fifths of a deduplication's time; as arrays it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

U8: TypeAlias = npt.NDArray[np.uint8]
U32: TypeAlias = npt.NDArray[np.uint32]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
CHUNK_CHARACTERS = 1 << 18  # characters tokenised at a time
CHUNK_SHINGLES = 1 << 17  # shingles signed at a time: they stay in the cache while every permutation passes over them
_SEPARATOR, _WORD, _ALONE = 0, 1, 2  # classes of characters
_CJK = "\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_TOKEN = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")
_BETWEEN_TOKENS = re.compile(f"[\\W{_CJK}]")


@dataclass(frozen=True)
class Tokens:
    """The tokens of n texts, one after another. hashes, lengths (in characters): (tokens,); offsets: (n + 1,)."""

    hashes: U64
    lengths: U32
    offsets: I64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, text: int) -> tuple[U64, U32]:
        start, end = self.offsets[text], self.offsets[text + 1]
        return self.hashes[start:end], self.lengths[start:end]

    def take(self, texts: Sequence[int]) -> Tokens:
        """The tokens of some of the texts."""
        if len(texts) == len(self):
            return self
        parts = [self.of(text) for text in texts]
        empty: tuple[U64, U32] = self.hashes[:0], self.lengths[:0]
        hashes, lengths = (np.concatenate(arrays) for arrays in zip(*(parts or [empty]), strict=True))
        return Tokens(hashes, lengths, offsets([len(part[0]) for part in parts]))


@dataclass(frozen=True)
class Scheme:
    """What decides a signature: shingle length, the permutations (2, P) uint32, and how the P values fall into bands."""

    shingle: int
    permutations: U32
    bands: int
    rows: int  # values in a band


def scheme(shingle: int, permutations: int, threshold: float, seed: int) -> Scheme:
    """datasketch's own `affine32` permutations, and its bands for a threshold where a pair missed is far worse than one to verify.

    Candidates are verified, so a false one costs a comparison; a pair exactly at the threshold is found with probability >= .95.
    """
    from datasketch import MinHash, MinHashLSH

    made = MinHash(num_perm=permutations, seed=seed % 2**32, scheme="affine32").permutations
    found_at = min(threshold, 0.9)  # beyond that datasketch finds too few bands for few permutations
    bands = MinHashLSH(threshold=found_at, num_perm=permutations, weights=(0.01, 0.99))
    return Scheme(shingle, np.ascontiguousarray(made, dtype=np.uint32), bands.b, bands.r)


# ---------------------------------------------------------------- tokens


def tokenise(texts: Sequence[str]) -> Tokens:
    """Every text's tokens as 64-bit hashes. The same token has the same hash in every text, process and run."""
    hashes, lengths = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)]
    counts = np.zeros(len(texts), np.int64)
    for chunk in _chunks(texts):
        chunk_hashes, chunk_lengths, chunk_counts = _tokenise_chunk([piece for _, piece in chunk])
        hashes.append(chunk_hashes)
        lengths.append(chunk_lengths)
        np.add.at(counts, [text for text, _ in chunk], chunk_counts)
    return Tokens(np.concatenate(hashes), np.concatenate(lengths), offsets(counts))


def token_spans(text: str) -> list[tuple[int, int]]:
    """Where each token of one text starts and ends, in characters. Slow: for the few texts that need it."""
    return [match.span() for match in _TOKEN.finditer(text)]


def offsets(counts: npt.ArrayLike) -> I64:
    """Where each of n runs starts, and where the last one ends: (n + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _chunks(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Texts with their numbers, about `CHUNK_CHARACTERS` together; a longer one in pieces."""
    chunk: list[tuple[int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        folded = text if text.isascii() else text.casefold()  # ASCII is lowered later, faster
        for piece in _pieces(folded) if len(folded) > CHUNK_CHARACTERS else (folded,):
            if chunk and size + len(piece) > CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
            chunk.append((number, piece))
            size += len(piece)
    if chunk:
        yield chunk


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > CHUNK_CHARACTERS:
        cut = _BETWEEN_TOKENS.search(text, start + CHUNK_CHARACTERS)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def _tokenise_chunk(texts: Sequence[str]) -> tuple[U64, U32, I64]:
    """Hashes and lengths of all tokens, and how many of them each text has. The texts' tokens are cut out of their UTF-8."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    raw = bytearray(b"\n".join([b"", *parts, _PADDING]).translate(_lowered()))
    alone, sizes, inner, extra = _marked(np.frombuffer(raw, np.uint8))
    starts, ends = _token_bounds(np.frombuffer(raw, np.uint8), alone, sizes)
    counts = np.diff(np.searchsorted(starts, 1 + offsets([len(part) + 1 for part in parts])))
    sizes_in_bytes = ends - starts
    hashes = _hashed(raw, starts, sizes_in_bytes)
    lengths = sizes_in_bytes.astype(np.uint32)
    if len(alone):
        lengths[np.searchsorted(starts, alone)] = 1
    np.subtract.at(lengths, np.searchsorted(starts, inner, "right") - 1, extra)
    return hashes, lengths, counts


_PADDING = b"\n" * 8  # so that eight bytes can be read wherever a token starts


@cache
def _lowered() -> bytes:
    """Of each byte its lower case in a word, 0 between words; bytes of other characters than ASCII stay."""
    letters = (chr(byte).lower() if chr(byte).isalnum() else "\0" for byte in range(128))
    return "".join(letters).encode() + bytes(range(128, 256))


def _marked(raw: U8) -> tuple[I64, U32, I64, U32]:
    """Make separators beyond ASCII zeros, in place.

    Returns where the characters start that are tokens of their own, and their sizes in bytes; and where the others start
    that are in words, and how many bytes more than one they have.
    """
    leads = np.flatnonzero(raw >= 0xC0)
    first, second, third = (raw[leads + place].astype(np.uint32) for place in range(3))
    sizes = 2 + (first >= 0xE0).astype(np.uint32) + (first >= 0xF0)
    points = np.where(sizes == 2, (first & 31) << 6 | second & 63, (first & 15) << 12 | (second & 63) << 6 | third & 63)
    four = np.flatnonzero(sizes == 4)
    points[four] = (points[four] << 6 | raw[leads[four] + 3] & 63) & 0x1FFFFF
    kinds = _classes()[points]
    gone = kinds == _SEPARATOR
    for place in range(4):
        raw[leads[gone & (sizes > place)] + place] = 0
    alone, inner = kinds == _ALONE, kinds == _WORD
    return leads[alone], sizes[alone], leads[inner], sizes[inner] - 1


def _token_bounds(raw: U8, alone: I64, sizes: U32) -> tuple[I64, I64]:
    """Where each token starts, and where it ends: at a zero, and around each character that stands alone."""
    inside = raw != 0
    if not len(alone):
        changes = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        return changes[0::2], changes[1::2]
    starts, ends = np.zeros_like(inside), np.zeros_like(inside)
    np.greater(inside[1:], inside[:-1], out=starts[1:])
    np.less(inside[1:], inside[:-1], out=ends[1:])
    after = alone + sizes
    ends[alone], ends[after] = inside[alone - 1], True
    starts[alone], starts[after] = True, inside[after]
    return np.flatnonzero(starts), np.flatnonzero(ends)


def _hashed(raw: bytearray, starts: I64, lengths: I64) -> U64:
    """64-bit hashes of tokens, from their bytes eight at a time; a token of more than `_LONG` bytes has xxh3 for it."""
    eights = np.ndarray((len(raw) - 7,), "<u8", raw, 0, (1,))
    hashes = mix(eights[starts] & _FIRST_BYTES.take(lengths, mode="clip"))
    longer = np.flatnonzero(lengths > 8)
    for place in range(8, _LONG, 8):
        left = lengths[longer] - place
        more = eights[starts[longer] + place] & _FIRST_BYTES.take(left, mode="clip")
        hashes[longer] = mix(hashes[longer] * multipliers(1)[0] + more)
        longer = longer[left > 8]
        if not len(longer):
            break
    for token in longer.tolist():
        start = int(starts[token])
        hashes[token] = xxhash.xxh3_64_intdigest(raw[start : start + int(lengths[token])])
    return hashes


_LONG = 64
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)  # masks of 0 to 8 bytes


@cache
def _classes() -> U8:
    """For every code point its class. 1 MB; a text touches little of it."""
    alphabet = np.arange(0x110000, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    classes = np.zeros(len(alphabet), np.uint8)
    for run in re.finditer(r"[^\W_]+", alphabet):
        classes[run.start() : run.end()] = _WORD
    for run in re.finditer(f"[{_CJK}]+", alphabet):
        classes[run.start() : run.end()] = _ALONE
    return classes


def multipliers(count: int) -> U64:
    """At least `count` odd 64-bit constants; every longer list begins with the shorter."""
    return _constants(1 << max(6, (count - 1).bit_length()))


@lru_cache(maxsize=4)
def _constants(count: int) -> U64:
    return mix(np.arange(1, count + 1, dtype=np.uint64)) | np.uint64(1)


def mix(values: U64) -> U64:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014), a bijection that avalanches."""
    mixed = values >> np.uint64(30)
    mixed ^= values
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    shifted = mixed >> np.uint64(27)
    mixed ^= shifted
    mixed *= np.uint64(0x94D049BB133111EB)
    np.right_shift(mixed, np.uint64(31), out=shifted)
    mixed ^= shifted
    return mixed


# ---------------------------------------------------------------- shingles


def ngrams(hashes: U64, size: int) -> U64:
    """64-bit hashes of every run of `size` tokens of one text: (tokens - size + 1,), empty where there are fewer."""
    count = max(0, len(hashes) - size + 1)
    total, term = np.zeros(count, np.uint64), np.empty(count, np.uint64)
    for start, multiplier in enumerate(multipliers(size)[:size]):
        total += np.multiply(hashes[start : start + count], multiplier, out=term)
    return total


def shingles(texts: Sequence[str], tokens: Tokens, size: int) -> tuple[U32, I64]:
    """32-bit hashes of the shingles of n texts, in order and with repeats, and their offsets (n + 1,).

    A text of fewer tokens than `size` is one shingle of all of it, and one without tokens is one of its own string, so
    that equal short texts meet and different ones do not.
    """
    counts = np.diff(tokens.offsets)
    windows = np.maximum(counts - size + 1, 0)
    short = np.flatnonzero(windows == 0)
    windows[short] = 1
    bounds = offsets(windows)
    hashed, taken = np.empty(bounds[-1], np.uint32), np.ones(bounds[-1], bool)
    taken[bounds[short]] = False
    for start, end in _document_chunks(tokens.offsets):
        here = slice(bounds[start], bounds[end])
        hashed[here][taken[here]] = _windows(tokens.hashes, tokens.offsets[start : end + 1], size)
    whole = np.array([_whole(texts[text], tokens.of(text)[0]) for text in short.tolist()], np.uint64)
    hashed[bounds[short]] = _upper_half(mix(whole))
    return hashed, bounds


def _windows(hashes: U64, bounds: I64, size: int) -> U32:
    """The shingles of texts that lie one after another at `bounds`, without the runs that reach from one into the next."""
    rolled = _upper_half(mix(ngrams(hashes[bounds[0] : bounds[-1]], size)))
    within = np.ones(len(rolled), bool)
    for back in range(1, size):
        late = bounds[1:] - bounds[0] - back
        within[late[(late >= 0) & (late < len(rolled))]] = False
    return rolled[within]


def _upper_half(values: U64) -> U32:
    return (values >> np.uint64(32)).astype(np.uint32)


def _whole(text: str, hashes: U64) -> np.uint64:
    if not len(hashes):
        return np.uint64(xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")))
    return np.uint64(ngrams(hashes, len(hashes))[0] ^ np.uint64(len(hashes)))


# ---------------------------------------------------------------- signatures


def signatures(shingled: U32, bounds: I64, permutations: U32) -> U32:
    """MinHash signatures (n, P) of n sets of shingles, equal to datasketch 2's `affine32`: min over (a * fmix32(x) + b).

    Every text has at least one shingle. One permutation at a time over a chunk that stays in the cache: a 2-D broadcast
    over all of them is 27 times slower.
    """
    signed = np.empty((permutations.shape[1], len(bounds) - 1), np.uint32)
    for start, end in _document_chunks(bounds):
        mixed = _fmix32(shingled[bounds[start] : bounds[end]])
        starts, buffer = bounds[start:end] - bounds[start], np.empty_like(mixed)
        for number, (a, b) in enumerate(permutations.T):
            np.multiply(mixed, a, out=buffer)
            np.add(buffer, b, out=buffer)
            np.minimum.reduceat(buffer, starts, out=signed[number, start:end])
    return np.ascontiguousarray(signed.T)


def _document_chunks(bounds: I64) -> Iterator[tuple[int, int]]:
    start, last = 0, len(bounds) - 1
    while start < last:
        end = int(np.searchsorted(bounds, bounds[start] + CHUNK_SHINGLES, "right")) - 1
        end = min(max(end, start + 1), last)
        yield start, end
        start = end


def _fmix32(values: U32) -> U32:
    """MurmurHash3's finalizer, datasketch's mix before the permutations."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def band_keys(signed: U32, bands: int, rows: int) -> U32:
    """One 32-bit key a band (bands, n): equal where the band's `rows` values are. A chance collision costs a comparison."""
    keys = np.empty((bands, len(signed)), np.uint32)
    for band in range(bands):
        values = signed[:, band * rows : (band + 1) * rows].astype(np.uint64)
        keys[band] = mix(values @ multipliers(rows)[:rows]) >> np.uint64(32)
    return keys


def jaccard(left: U32, right: U32) -> float:
    """Exact Jaccard similarity of two sets of shingles, each sorted and without repeats."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
