"""text-dedup's minhash command from text to kept rows, in one process. options: {"threshold", "permutations"}.

Its own defaults (250 permutations) but for the threshold, and xxh3, which it says is faster. Time is of `main`, without imports.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"

from common import cpu, main, texts_of
from datasets import disable_progress_bars, load_from_disk
from text_dedup.minhash import main as command


def run(source: str, options: dict) -> dict:
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        numbered = Path(folder) / "numbered.jsonl"
        with numbered.open("w", encoding="utf-8") as file:
            for row, text in enumerate(texts_of(source)):
                file.write(json.dumps({"row": row, "text": text}, ensure_ascii=False) + "\n")
        arguments = {
            "path": "json", "data_files": str(numbered), "split": "train", "cache_dir": f"{folder}/cache",
            "output": f"{folder}/out", "column": "text", "num_proc": "1", "hash_func": "xxh3",
            "threshold": options.get("threshold", 0.8), "num_perm": options.get("permutations", 250),
        }  # fmt: skip
        started, spent = time.perf_counter(), cpu()
        command([f"--{name}={value}" for name, value in arguments.items()], standalone_mode=False)
        took = {"seconds": time.perf_counter() - started, "cpu": cpu() - spent}
        kept = set(load_from_disk(f"{folder}/out")["row"])
        rows = sum(1 for _ in numbered.open("rb"))
    return {**took, "removed": [row for row in range(rows) if row not in kept]}


if __name__ == "__main__":
    sys.argv[1:3] = [str(Path(path).resolve()) for path in sys.argv[1:3]]
    main(run, "text-dedup")
