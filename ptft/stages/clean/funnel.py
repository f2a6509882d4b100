"""How many documents, bytes and tokens are left after each step, by language and by reason; and samples of what went."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptft.core.language import LANGUAGES
from ptft.core.progress import Table, table_of

SHOWN_CHARACTERS = 600  # of a sample's text
SHOWN_LANGUAGES = 6
ORDER = (
    "empty", "language", "min_language_score", "protected", "gopher_quality", "gopher_repetition", "c4", "fineweb", "fineweb2",
    "noise", "sensitive", "earlier_duplicate", "exact_duplicate", "near_duplicate",
)  # fmt: skip  # of the steps


@dataclass(frozen=True)
class Amount:
    """tokens: words, and Han characters."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.documents + other.documents, self.bytes + other.bytes, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.documents - other.documents, self.bytes - other.bytes, self.tokens - other.tokens)


@dataclass(frozen=True, order=True)
class Sample:
    """One dropped row, for people to read. key: decides which few of a rule's rows are shown."""

    key: int
    id: str
    language: str = field(compare=False)
    text: str = field(compare=False)
    reasons: tuple[Mapping[str, Any], ...] = field(compare=False)
    duplicate_of: str = field(compare=False, default="")


@dataclass
class Funnel:
    """Good rows by their first reason to go ("": kept) and their language. read_bytes: before any edit."""

    cells: dict[tuple[str, str], Amount] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    edits: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0
    rejected: int = 0
    sampled: int = 5  # samples kept a rule

    def add(self, reasons: Sequence[str], facts: npt.NDArray[np.void]) -> None:
        """Count some rows. reasons: the first of each; facts: with language, bytes_in, bytes_out and tokens, (n,)."""
        names = sorted(set(reasons))
        code = np.array([names.index(name) for name in reasons], np.int64) * 256 + facts["language"]
        for cell in np.unique(code).tolist():
            some = facts[code == cell]
            amount = Amount(
                len(some), int(some["bytes_out"].sum(dtype=np.int64)), int(some["tokens"].sum(dtype=np.int64))
            )
            key = names[cell // 256], LANGUAGES[cell % 256]
            self.cells[key] = self.cells.get(key, Amount()) + amount
        self.read_bytes += int(facts["bytes_in"].sum(dtype=np.int64))

    def wants(self, rule: str, key: int) -> bool:
        """Whether a row with this key would be among the samples of a rule: the few with the smallest keys."""
        held = self.samples.get(rule, [])
        return len(held) < self.sampled or (bool(held) and key < held[-1].key)

    def show(self, rule: str, sample: Sample) -> None:
        held = self.samples.setdefault(rule, [])
        bisect.insort(held, sample)
        del held[self.sampled :]

    # ------------------------------------------------------------ figures

    def total(self, rule: str | None = None, language: str | None = None) -> Amount:
        """Of one reason ("": kept) and one language; None: of all."""
        some = (
            amount for (why, lang), amount in self.cells.items()
            if (rule is None or why == rule) and (language is None or lang == language)
        )  # fmt: skip
        return sum(some, Amount())

    def languages(self) -> list[str]:
        """The languages there are, the largest first."""
        found = {lang for _, lang in self.cells}
        return sorted(found, key=lambda lang: (-self.total(language=lang).documents, lang))

    def rules(self) -> list[str]:
        """Reasons by which rows went, in the order of the steps, the largest of a step first."""
        found = {why for why, _ in self.cells if why}
        return sorted(found, key=lambda why: (_step(why), -self.total(why).documents, why))

    def steps(self) -> Iterator[tuple[str, Amount, Amount]]:
        """Each step's name, what went in it, and what was left after it."""
        left = self.total()
        yield "read", Amount(), left
        groups: dict[str, Amount] = {}
        for rule in self.rules():
            group = rule.partition(".")[0]
            groups[group] = groups.get(group, Amount()) + self.total(rule)
        for group, gone in groups.items():
            left -= gone
            yield group, gone, left

    def counts(self) -> dict[str, Any]:
        """For the run record."""
        kept, rules = self.total(""), sorted(self.rules(), key=lambda rule: (-self.total(rule).documents, rule))
        return {
            "kept": kept.documents, "dropped": self.total().documents - kept.documents,
            "dropped_by_reason": {rule: self.total(rule).documents for rule in rules},
            "by_language": {lang: self.total("", lang).documents for lang in sorted(self.languages()) if self.total("", lang).documents},
            "bytes_in": self.read_bytes, "bytes_out": kept.bytes, "tokens_out": kept.tokens,
            "edits": dict(sorted((name, count) for name, count in self.edits.items() if count)),
            "funnel": [
                {"step": name, "documents": left.documents, "bytes": left.bytes, "tokens": left.tokens, "dropped": gone.documents}
                for name, gone, left in self.steps()
            ],
        }  # fmt: skip

    # ------------------------------------------------------------ tables

    def step_table(self) -> Table:
        rows = [
            (
                name.replace("_", " "),
                left.documents,
                left.bytes,
                left.tokens,
                gone.documents,
                _percent(gone, self.total()),
            )
            for name, gone, left in self.steps()
        ]
        return table_of(
            "what is left after each step", ("step", "documents", "bytes", "tokens", "dropped", "share"), rows
        )

    def rule_table(
        self, title: str = "dropped, by first reason (all reasons: dropped.jsonl; samples: report.html)"
    ) -> Table:
        languages = self.languages()[:SHOWN_LANGUAGES]
        rows = [
            (rule, self.total(rule).documents, _percent(self.total(rule), self.total()),
             *(self.total(rule, lang).documents for lang in languages))
            for rule in self.rules()
        ]  # fmt: skip
        return table_of(title, ("rule", "rows", "share", *languages), rows)


def _step(rule: str) -> int:
    group = rule.partition(".")[0]
    return ORDER.index(group) if group in ORDER else len(ORDER)


def _percent(part: Amount, whole: Amount) -> str:
    return f"{part.documents / max(1, whole.documents):.1%}"
