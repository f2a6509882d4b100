"""The knobs of `ptft eval`."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.core.contracts import SCORES, Argument, Stage
from ptft.core.recipes import Recipe, knob


@dataclass(frozen=True, kw_only=True)
class EvalRecipe(Recipe):
    metrics: tuple[str, ...] = knob(
        (),
        "metrics, e.g. f1,accuracy,bleu,rouge,perplexity (empty: those that fit the model and data)",
        flag="--metrics",
    )
    predictions: str = knob(
        "",
        "score this predictions.jsonl ({prediction, reference}) instead of a model",
        flag="--predictions/-p",
        path="rows",
    )
    fail_under: str = knob("", "gates, e.g. f1=0.9,bleu=20: exit 5 where a score is lower", flag="--fail-under")
    batch_size: int = knob(16, "rows a forward pass", flag="--batch-size", low=1, identity=False)
    max_seq_len: int = knob(0, "cut inputs to this many tokens (0: what the model was made for)", low=0)
    max_new_tokens: int = knob(64, "tokens to generate for BLEU and ROUGE", low=1)
    limit: int = knob(0, "evaluate the first rows only (0: all)", low=0)
    bootstrap: int = knob(1000, "resamples for the 95 % interval (0: none)", low=0)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")


STAGE = Stage(
    name="eval",
    help="A model on examples or text, or a predictions file: accuracy, F1, BLEU, ROUGE, perplexity, bits per byte.",
    recipe=EvalRecipe,
    module="ptft.stages.eval.run",
    arguments=(
        Argument("model", "MODEL", "a checkpoint or export folder (leave out with -p)", "folder", optional=True),
        Argument("data", "DATA...", "examples or text: files, folders, globs, '-' or hf:NAME", "rows", optional=True),
    ),
    makes=SCORES,
)
