"""datatrove from text to the rows it drops: signatures, buckets, clusters, on one core. options: {"lang", "rules"}.

MinHash by its defaults: five-word shingles, 14 bands of 8. With rules: its repetition, C4, quality and FineWeb filters first,
then the same over what they keep, then its last stage, which writes the corpus: text in, clean text out.
"""

import struct
import tempfile
from pathlib import Path

from common import main, texts_of
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.logging import logger
from datatrove_rules import pipeline

LANGUAGES = {"en": "eng", "zh": "cmn_Hani"}


def run(source: str, options: dict) -> dict:
    logger.remove()
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(source).resolve()
        if options.get("rules"):
            stage = [_reader(path), *pipeline(options["lang"]), _writer(folder / "filtered")]
            _execute(stage, folder / "logs-rules")
            path = next((folder / "filtered").iterdir())
        removed = _minhash(path, folder, options["lang"])
        if not options.get("rules"):
            return {"removed": removed}
        _execute(
            [_reader(path), MinhashDedupFilter(str(folder / "remove")), _writer(folder / "out")], folder / "logs-4"
        )
        return {"kept": len(texts_of(str(next((folder / "out").iterdir()))))}


def _reader(path: Path) -> JsonlReader:
    return JsonlReader(str(path.parent), glob_pattern=path.name)


def _writer(folder: Path) -> JsonlWriter:
    return JsonlWriter(str(folder), output_filename="${rank}.jsonl", compression=None)


def _minhash(path: Path, folder: Path, lang: str) -> list[int]:
    config = MinhashConfig(hash_config=HashConfig(precision=64))
    signatures = MinhashDedupSignature(str(folder / "signatures"), config=config, language=LANGUAGES[lang])
    _execute([_reader(path), signatures], folder / "logs-1")
    buckets = MinhashDedupBuckets(
        str(folder / "signatures"), str(folder / "buckets"), config=config, lines_to_buffer=-1
    )
    _execute([buckets], folder / "logs-2", tasks=config.num_buckets)
    clusters = MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config, lines_to_buffer=-1)
    _execute([clusters], folder / "logs-3")
    dropped = folder / "remove" / "000000.remove"
    return [number for (number,) in struct.iter_unpack("<I", dropped.read_bytes())] if dropped.exists() else []


def _execute(stage: list, logs: Path, tasks: int = 1) -> None:
    LocalPipelineExecutor(stage, tasks=tasks, workers=1, logging_dir=str(logs)).run()


if __name__ == "__main__":
    main(run, "datatrove", "spacy")
