"""datasketch from text to duplicates: MinHash.bulk and MinHashLSH. options: {"words": quick or exact, "threshold"}."""

import xxhash
from common import later_ones, main, quick_shingles, shingles, texts_of
from datasketch import MinHash, MinHashLSH


def _hash(data: bytes) -> int:
    return xxhash.xxh32_intdigest(data)


def run(source: str, options: dict) -> dict:
    cut = quick_shingles if options.get("words") == "quick" else shingles
    texts = texts_of(source)
    documents = ([shingle.encode() for shingle in cut(text)] for text in texts)
    index = MinHashLSH(threshold=options.get("threshold", 0.8), num_perm=128)
    pairs = []
    for row, made in enumerate(MinHash.bulk(documents, num_perm=128, hashfunc=_hash)):
        pairs += [(other, row) for other in index.query(made)]
        index.insert(row, made)
    return {"removed": later_ones(pairs, len(texts)), "pairs": len(pairs)}


if __name__ == "__main__":
    main(run, "datasketch")
