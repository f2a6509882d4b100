"""rensa from text to duplicates. options: {"way", "words": quick or exact, "threshold"}.

lsh: RMinHash + RMinHashLSH, pairs. matrix: the same in batches, flags alone. rho: its sampling sketch, flags alone.
deduplicator: RMinHashDeduplicator, which estimates each candidate's similarity again.
"""

from common import later_ones, main, quick_shingles, shingles, texts_of
from rensa import RMinHash, RMinHashDeduplicator, RMinHashLSH

PERMUTATIONS, BANDS, SEED = 128, 16, 42


def run(source: str, options: dict) -> dict:
    cut = quick_shingles if options.get("words") == "quick" else shingles
    texts = texts_of(source)
    return _WAYS[options["way"]]((cut(text) for text in texts), len(texts), options.get("threshold", 0.8))


def _lsh(documents, rows: int, threshold: float) -> dict:
    made = RMinHash.from_token_sets(documents, num_perm=PERMUTATIONS, seed=SEED)
    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=BANDS)
    index.insert_many(made)
    found = index.query_all(made)
    pairs = [(row, other) for row, others in enumerate(found) for other in others if other > row]
    return {"removed": later_ones(pairs, rows), "pairs": len(pairs)}


def _matrix(documents, rows: int, threshold: float) -> dict:
    matrix = RMinHash.digest_matrix_from_token_sets(documents, num_perm=PERMUTATIONS, seed=SEED)
    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=BANDS)
    return _flagged(index.query_duplicate_flags_matrix_one_shot(matrix))


def _rho(documents, rows: int, threshold: float) -> dict:
    matrix = RMinHash.digest_matrix_from_token_sets_rho(documents, num_perm=PERMUTATIONS, seed=SEED)
    index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=8)  # as in its own benchmark
    return _flagged(index.query_duplicate_flags_matrix_one_shot(matrix))


def _flagged(flags: list[bool]) -> dict:
    """Flags name both sides of a pair, and no pairs: which rows are duplicates of which is not known."""
    return {"removed": [row for row, flag in enumerate(flags) if flag]}


def _deduplicator(documents, rows: int, threshold: float) -> dict:
    made = RMinHashDeduplicator(threshold=threshold, num_perm=PERMUTATIONS, use_lsh=True, num_bands=BANDS, seed=SEED)
    kept = made.add_pairs((str(row), words) for row, words in enumerate(documents))
    return {"removed": [row for row, keep in enumerate(kept) if not keep]}


_WAYS = {"lsh": _lsh, "matrix": _matrix, "rho": _rho, "deduplicator": _deduplicator}

if __name__ == "__main__":
    main(run, "rensa")
