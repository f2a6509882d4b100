"""What each rule drops of each real corpus, and how near HTML pages come to the text they were made from."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean, median

from tools import dropped, note, ptft_clean, table

SETS = ("bbc", "brown", "help-en", "linux-doc", "help-zh", "fortunes-zh")
SHINGLE = 5


def run(data: Path, cache: Path) -> None:
    found = {name: _drops(data / f"{name}.jsonl", cache) for name in SETS if (data / f"{name}.jsonl").exists()}
    _table(found)
    pages, texts = data / "help-html.jsonl", data / "help-en.jsonl"
    if pages.exists() and texts.exists():
        _html(pages, texts, cache)
    else:
        note("HTML left out: no help-html.jsonl")


def _drops(source: Path, cache: Path) -> tuple[int, Counter[str], Counter[str]]:
    """Rows read, and how many each rule dropped: as the first reason, and as any."""
    run = ptft_clean(source, cache / "out", "--rules", "web")
    first, any_of = Counter[str](), Counter[str]()
    for reasons in dropped(cache / "out").values():
        first[reasons[0]["rule"]] += 1
        any_of.update({reason["rule"] for reason in reasons})
    escapes = (cache / "out" / "corpus.jsonl").read_text("utf-8").count("\\u001b")
    note(f"{source.stem}: {run.report['kept']:,} of {run.report['rows_read']:,} kept; escape codes left: {escapes}")
    return run.report["rows_read"], first, any_of


def _table(found: dict[str, tuple[int, Counter[str], Counter[str]]]) -> None:
    rules = list(dict.fromkeys(rule for _, _, any_of in found.values() for rule in sorted(any_of)))
    rows = [
        (rule, *(f"{first[rule]:,} ({any_of[rule]:,})" if any_of[rule] else "" for _, first, any_of in found.values()))
        for rule in sorted(rules)
    ]
    rows.append(("dropped", *(f"{sum(first.values()) / total:.1%}" for total, first, _ in found.values())))
    head = ("rule", *(f"{name} ({total:,})" for name, (total, _, _) in found.items()))
    table(
        "What each rule drops: as the first reason (as any)",
        head,
        rows,
        "`ptft clean --rules web`, all else as it comes",
    )


def _html(pages: Path, texts: Path, cache: Path) -> None:
    truth = {row["id"]: row["text"] for row in map(json.loads, texts.open(encoding="utf-8"))}
    rows = []
    for content in ("main", "all"):
        ptft_clean(
            pages,
            cache / "out",
            "--rules",
            "off",
            "--set",
            "duplicates.enabled=false",
            "--set",
            f"normalise.html={content}",
        )
        recalls, precisions = [], []
        with (cache / "out" / "corpus.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                wanted, got = _shingles(truth.get(row["id"], "")), _shingles(row["text"])
                if wanted and got:
                    recalls.append(len(wanted & got) / len(wanted))
                    precisions.append(len(wanted & got) / len(got))
        figures = (f"{mean(values):.3f} / {median(values):.3f}" for values in (recalls, precisions))
        rows.append((content, len(recalls), *figures))
    table(
        "HTML help pages against the same help as text: shared five-word shingles",
        ("content", "pages", "of the text's, mean / median", "of the page's, mean / median"),
        rows,
        "help-en holds no code and no embedded notes, which the pages do",
    )


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))} if words else set()
