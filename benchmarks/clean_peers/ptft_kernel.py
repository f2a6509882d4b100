"""ptft's own functions from JSONL text to duplicates, on one core, without the command around them. options: {"threshold"}."""

import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
from common import main

from ptft.core.dedup import Store, components, fingerprints
from ptft.core.minhash import scheme

BLOCK_ROWS = 2000  # as `ptft clean` cuts them


def run(source: str, options: dict) -> dict:
    threshold = options.get("threshold", 0.8)
    bands = scheme(5, 128, threshold, seed=0)
    folders: list[Path] = []
    with tempfile.TemporaryDirectory() as name, Path(source).open("rb") as lines:
        while block := [orjson.loads(line)["text"] for line in islice(lines, BLOCK_ROWS)]:
            folders.append(Path(name) / f"{len(folders):05d}")
            folders[-1].mkdir()
            fingerprints(block, bands).save(folders[-1])
        roots = components(Store(folders), bands.bands, threshold)
    return {"removed": np.flatnonzero(roots != np.arange(len(roots))).tolist()}


if __name__ == "__main__":
    main(run, "ptft")
