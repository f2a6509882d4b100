"""The names of metrics, what each needs, and which way is better. Imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# by what they are computed from
LABELS = (
    "accuracy", "balanced_accuracy", "f1", "precision", "recall",  # these three: macro averages
    "f1_micro", "precision_micro", "recall_micro", "f1_weighted", "precision_weighted", "recall_weighted",
    "f1_binary", "precision_binary", "recall_binary", "mcc", "kappa",
)  # fmt: skip
PROBABILITIES = ("auroc", "average_precision", "log_loss", "brier", "ece")  # of labels
MANY_LABELS = (  # of rows with several labels
    "f1", "f1_micro", "f1_weighted", "f1_samples", "precision", "recall", "precision_micro", "recall_micro",
    "subset_accuracy", "hamming_loss",
)  # fmt: skip
NUMBERS = ("pearson", "spearman", "mse", "rmse", "mae", "r2")
ENTITIES = ("entity_f1", "entity_precision", "entity_recall", "token_accuracy")
SPANS = ("exact_match", "token_f1")  # of short answers
TEXTS = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "rougeLsum", "meteor", "bertscore")
VARIETY = ("distinct1", "distinct2", "distinct3", "repetition")  # of generated texts alone, without references
SAFETY = ("flagged",)
LIKELIHOODS = ("perplexity", "bits_per_byte")
CHOICES = ("acc", "acc_norm")  # of the likeliest of several continuations
PREFERENCE = ("preference",)  # of the likelier of two texts
RANKINGS = ("top1", "top5", "map", "mrr", "ndcg")
BOXES = ("box_map", "box_map50")  # of objects found in images

FAMILIES = (
    LABELS, PROBABILITIES, MANY_LABELS, NUMBERS, ENTITIES, SPANS, TEXTS, VARIETY, SAFETY, LIKELIHOODS, CHOICES, PREFERENCE,
    RANKINGS, BOXES,
)  # fmt: skip
ALL = tuple(dict.fromkeys(name for family in FAMILIES for name in family))
GROUPS = {"rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"), "distinct": ("distinct1", "distinct2", "distinct3")}
LOWER_IS_BETTER = (
    *LIKELIHOODS, "mse", "rmse", "mae", "ter", "log_loss", "brier", "ece", "hamming_loss", "repetition", "flagged",
)  # fmt: skip


def expand(asked: Iterable[str]) -> tuple[str, ...]:
    """Names with groups replaced by their members ("rouge"), each once, in the order asked."""
    return tuple(dict.fromkeys(member for name in asked for member in GROUPS.get(name, (name,))))


def unknown(asked: Iterable[str]) -> list[str]:
    """A problem in words for every name that is no metric, with the nearest right name."""
    return [f"no metric {name!r}{_nearest(name)}" for name in expand(asked) if name not in ALL]


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), [*ALL, *GROUPS], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; the metrics are {', '.join(ALL)}"


def limits(text: str, knob: str) -> tuple[dict[str, float], list[str]]:
    """ "f1=0.9,bleu=20" -> {"f1": 0.9, "bleu": 20.0}, and what is wrong with it in words. "90%" is 0.9."""
    found: dict[str, float] = {}
    problems: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        number = _number(value)
        if number is None:
            problems.append(f"{knob} {item!r}: expected METRIC=NUMBER, for example f1=0.9")
        elif name in GROUPS:
            problems.append(f"{knob} {item!r}: name one of {', '.join(GROUPS[name])}")
        else:
            problems.extend(f"{knob} {item!r}: {problem}" for problem in unknown([name]))
            found[name] = number
    return found, problems


def _number(text: str) -> float | None:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        return None
    if number != number:
        return None
    return number / 100 if text.strip().endswith("%") else number


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
