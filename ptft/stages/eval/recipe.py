"""The knobs of `ptft eval`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import SCORES, Argument, Stage
from ptft.core.knobs import Decoding
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
    references: str = knob(
        "", "rows that hold the references of --predictions, by id", flag="--references/-r", path="rows"
    )
    kind: str = knob(
        "auto", "what the predictions are: labels, texts, numbers, tags, rankings, boxes, ...", flag="--kind"
    )
    task: str = knob("", "a task: YAML of a template, choices, shots and metrics", flag="--task", path="file")
    shots: int = knob(-1, "solved examples before each question (-1: as the task says)", flag="--shots", low=-1)
    chat: Literal["auto", "yes", "no"] = knob(
        "auto", "ask in the chat template (auto: as the task says)", flag="--chat"
    )
    by: tuple[str, ...] = knob(
        (), "scores of slices, too: fields of the rows, or lang and length, which are found", flag="--by"
    )
    against: str = knob("", "an earlier result to compare with, row by row", flag="--against", path="folder")
    train_data: tuple[str, ...] = knob(
        (),
        "training text to look for the evaluation rows in (empty: what run records name)",
        flag="--train-data",
        path="rows",
    )
    overlap: int = knob(
        13, "words (Chinese: characters x 2) that a shared run must have to be an overlap (0: do not look)", low=0
    )
    fail_under: str = knob("", "gates, e.g. f1=0.9,bleu=20: exit 5 where a score is lower", flag="--fail-under")
    fail_over: str = knob("", "gates, e.g. perplexity=30: exit 5 where a score is higher", flag="--fail-over")
    batch_size: int = knob(
        0, "rows a forward pass (0: found automatically)", flag="--batch-size", low=0, identity=False
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = knob(
        "auto", "what to compute in (auto: as stored on a GPU, float32 on a CPU)", flag="--dtype"
    )
    max_seq_len: int = knob(0, "tokens of context (0: what the model was made for, for text at most 2048)", low=0)
    stride: int = knob(0, "tokens of a long text that each window scores (0: half the context)", low=0)
    prefix: Literal["auto", "yes", "no"] = knob(
        "auto", "score a text's first token after a begin or end token (auto: where the tokenizer adds one)"
    )
    decoding: Decoding = knob(Decoding, "how answers are written")
    limit: int = knob(0, "evaluate the first rows only (0: all)", flag="--limit", low=0)
    bootstrap: int = knob(1000, "resamples for the 95 % interval (0: none)", low=0)
    positive: str = knob("", "the label that binary scores are of (empty: the second of two)", flag="--positive")
    wordnet: str = knob("", "WordNet's data files, for METEOR's synonyms", path="folder")
    bertscore: str = knob("", "an encoder's folder, for BERTScore", path="folder")
    words: tuple[str, ...] = knob(
        (),
        "words that answers must not hold (flagged): text files, a word a line (empty: ours)",
        flag="--words",
        path="rows",
    )
    workers: int = knob(0, "processes that score texts (0: one a core)", flag="--workers", low=0, identity=False)
    worst: int = knob(20, "rows that the page lists as the worst", low=0)
    columns: dict[str, str] = knob({}, "wanted name -> name in the file")

    def problems(self) -> list[str]:
        under, over = names.limits(self.fail_under, "fail_under"), names.limits(self.fail_over, "fail_over")
        found = [f"metrics: {problem}" for problem in names.unknown(self.metrics)]
        for name in under[0]:
            if name in names.LOWER_IS_BETTER:
                found.append(f"fail_under: {name} is better when it is lower; use --fail-over {name}=...")
        return found + under[1] + over[1] + self.decoding.problems()

    def more_inputs(self) -> Mapping[str, tuple[str, ...]]:
        """The files that the task names: "data" where no DATA is given, "shots" for its solved examples."""
        if not self.task:
            return {}
        from ptft.stages.eval.task.file import inputs_of

        return inputs_of(self.task)


STAGE = Stage(
    name="eval",
    help="Scores of a model on data, with intervals, slices and comparisons; or of any tool's predictions file.",
    recipe=EvalRecipe,
    module="ptft.stages.eval.run",
    arguments=(
        Argument(
            "model",
            "MODEL",
            "a checkpoint or export folder, or a .gguf file (leave out with -p)",
            "folder",
            optional=True,
        ),
        Argument("data", "DATA...", "examples or text: files, folders, globs, '-' or hf:NAME", "rows", optional=True),
    ),
    makes=SCORES,
)
