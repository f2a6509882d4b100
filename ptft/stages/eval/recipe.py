"""The knobs of `ptft eval`."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.core.contracts import SCORES, Argument, Stage
from ptft.core.metrics import names
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
    fail_over: str = knob("", "gates, e.g. perplexity=30: exit 5 where a score is higher", flag="--fail-over")
    batch_size: int = knob(16, "rows a forward pass", flag="--batch-size", low=1, identity=False)
    max_seq_len: int = knob(0, "tokens of context (0: what the model was made for, for text at most 2048)", low=0)
    stride: int = knob(0, "tokens of a long text that each window scores (0: half the context)", low=0)
    max_new_tokens: int = knob(64, "tokens to generate for BLEU and ROUGE", low=1)
    limit: int = knob(0, "evaluate the first rows only (0: all)", flag="--limit", low=0)
    bootstrap: int = knob(1000, "resamples for the 95 % interval (0: none)", low=0)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        under, over = names.limits(self.fail_under, "fail_under"), names.limits(self.fail_over, "fail_over")
        found = [f"metrics: {problem}" for problem in names.unknown(self.metrics)]
        for name in under[0]:
            if name in names.LOWER_IS_BETTER:
                found.append(f"fail_under: {name} is better when it is lower; use --fail-over {name}=...")
        return found + under[1] + over[1]


STAGE = Stage(
    name="eval",
    help="Scores of a model on data. Accuracy, F1, BLEU, ROUGE, perplexity, bits per byte; or of a predictions file.",
    recipe=EvalRecipe,
    module="ptft.stages.eval.run",
    arguments=(
        Argument("model", "MODEL", "a checkpoint or export folder (leave out with -p)", "folder", optional=True),
        Argument("data", "DATA...", "examples or text: files, folders, globs, '-' or hf:NAME", "rows", optional=True),
    ),
    makes=SCORES,
)
