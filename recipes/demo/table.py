"""The demo's closing table, read from the run records and scores that the stages wrote. Nothing here is computed but means."""

import json
import statistics
import sys
from pathlib import Path

from ptft.core.progress import Table, cell
from ptft.ui import Terminal

D = Path(sys.argv[1])
SEEDS = (1, 2, 3)


def record(name: str) -> dict:
    return json.loads((D / name / "run.json").read_text(encoding="utf-8"))


def score(name: str, metric: str) -> float:
    return json.loads((D / name / "scores.json").read_text(encoding="utf-8"))["metrics"][metric]["score"]


def spread(model: str) -> str:
    """Macro F1 on the held-out test: mean and standard deviation over the seeds, and each."""
    found = [score(f"eval-{model}-{seed}", "f1") for seed in SEEDS]
    each = ", ".join(f"{value:.3f}" for value in found)
    return f"{statistics.mean(found):.3f} ± {statistics.stdev(found):.3f}  ({each})"


def size(name: str) -> str:
    """Bytes of the weights on disk."""
    return f"{sum(path.stat().st_size for path in (D / name).glob('*.safetensors')) / 1e6:.2f} MB"


def rows() -> list[tuple[str, str]]:
    clean, split, pack, pretrain = record("clean"), record("split"), record("pack"), record("pretrain")
    instruction, task = record("instruction"), record("task-base-1")
    dropped = clean["counts"]["dropped_by_reason"]
    per_label = task["recipe"]["per_label"]
    return [
        ("documents read", cell(clean["counts"]["rows_read"])),
        *((f"  dropped: {reason}", cell(count)) for reason, count in dropped.items()),
        ("  kept", cell(clean["counts"]["kept"])),
        ("train / val / test documents", " / ".join(cell(split["counts"][part]) for part in ("train", "val", "test"))),
        ("parameters", cell(pretrain["counts"]["parameters"])),
        ("tokens in the corpus / trained on", f"{cell(pack['counts']['train_tokens'])} / {cell(pretrain['counts']['tokens_trained'])}"),
        ("bits per byte, held-out test", f"{score('eval-text', 'bits_per_byte'):.3f}"),
        ("dialogues: response loss before -> after", f"{instruction['metrics']['eval_loss_before']:.2f} -> {instruction['metrics']['eval_loss_after']:.2f}"),
        (f"macro F1 from {per_label} labels a topic, mean ± sd over {len(SEEDS)} seeds", ""),
        ("  (a) pretrained, then fine-tuned", spread("base")),
        ("  (b) the same network from scratch", spread("scratch")),
        ("  (c) TF-IDF + logistic regression", spread("tfidf")),
        ("size and macro F1 of (a), seed 1", ""),
        ("  fp32", f"{size('task-base-1')}   {score('eval-base-1', 'f1'):.3f}"),
        ("  INT8 (torchao)", f"{size('int8')}   {score('eval-int8', 'f1'):.3f}"),
        ("  INT4 (torchao)", f"{size('int4')}   {score('eval-int4', 'f1'):.3f}"),
    ]  # fmt: skip


if __name__ == "__main__":
    Terminal().table(Table("From raw text to a quantised, evaluated model", ("", "measured"), tuple(rows())))
    sys.stdout.write(f"{D}\n")
