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


def exports(name: str) -> list[tuple[str, float, dict, float | None]]:
    """Of each export: its name, megabytes, figures beside the original, and tokens or texts a second of the original's, times."""
    listed = json.loads((D / name / "export.json").read_text(encoding="utf-8"))
    metrics = record(name)["metrics"]
    first = pace(metrics["original"]["speed"])
    found = [("fp32", listed["bytes_before"] / 1e6, {}, 1.0)]
    for export, figures in listed["exports"].items():
        times = pace(metrics[export]["speed"]) / first if "speed" in metrics[export] else None
        found.append((export, figures["bytes"] / 1e6, figures["verify"], times))
    return found


def pace(speed: dict) -> float:
    """Tokens or texts a second, one text at a time."""
    return speed["tokens_per_second"]["1"] if "tokens_per_second" in speed else 1 / speed["seconds_a_text"]["1"]


def classifiers() -> list[tuple[str, str]]:
    evals = {"fp32": "eval-base-1", "int8-dynamic-onnx": "eval-export-int8-dynamic", "int4-onnx": "eval-export-int4"}
    return [
        (f"  {name}", f"{size:.2f} MB   {score(evals[name], 'f1'):.3f}   {times:.1f}x")
        for name, size, _, times in exports("exports")
    ]


def bases() -> list[tuple[str, str]]:
    found = []
    for name, size, figures, times in exports("exports-base"):
        change = f"x {figures['perplexity_ratio']:.4f}" if figures else "x 1"
        found.append((f"  {name}", f"{size:.2f} MB   {change}   {'-' if times is None else f'{times:.1f}x'}"))
    return found


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
        ("(a), seed 1: size, macro F1, speed with one text", ""),
        *classifiers(),
        ("the base model: size, perplexity, speed with one text", ""),
        *bases(),
    ]  # fmt: skip


if __name__ == "__main__":
    Terminal().table(Table("From raw text to a quantised, evaluated model", ("", "measured"), tuple(rows())))
    sys.stdout.write(f"{D}\n")
