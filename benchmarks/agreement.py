"""Whether ptft's rules decide as datatrove's do: both over the same real texts, rule by rule."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from tools import SCRIPTS, Missing, dropped, note, ptft_clean, python_of, table

SETS = {"bbc": "en", "brown": "en", "help-en": "en", "linux-doc": "en", "help-zh": "zh"}

# ptft's knob (with its rule set where that matters): datatrove's rule. Where ptft has two for one, either counts.
RULE_SETS = ("gopher_quality", "gopher_repetition", "c4", "fineweb", "fineweb2", "noise")
NAMES = {
    "min_words": "min_doc_words",
    "max_words": "max_doc_words",
    "min_mean_word_length": "min_avg_word_length",
    "max_mean_word_length": "max_avg_word_length",
    "max_symbols_per_word": "max_symbol_word_ratio",
    "max_bullet_lines": "max_bullet_lines_ratio",
    "max_ellipsis_lines": "max_ellipsis_lines_ratio",
    "min_alphabetic_words": "max_non_alpha_words_ratio",
    "min_stop_words": "min_stop_words",
    "max_duplicate_lines": "dup_line_frac",
    "max_duplicate_line_characters": "dup_line_char_frac",
    "max_duplicate_paragraphs": "dup_para_frac",
    "max_duplicate_paragraph_characters": "dup_para_char_frac",
    **{f"max_top_{size}gram": f"top_{size}_gram" for size in (2, 3, 4)},
    **{f"max_duplicate_{size}gram": f"duplicated_{size}_n_grams" for size in range(5, 11)},
    "fineweb.max_duplicate_line_characters": "char_duplicates_ratio",
    "fineweb2.max_duplicate_line_characters": "char_duplicates_ratio",
    "min_punctuated_lines": "line_punct_thr",
    "max_short_lines": "short_line_thr",
    "max_newlines_per_word": "new_line_ratio",
    "max_lorem_ipsum": "c4_lorem_ipsum",
    "max_curly_brackets": "c4_curly_bracket",
    "min_sentences": "c4_too_few_sentences",
}
ONLY_THEIRS = {"c4_too_few_sentences_terminal"}  # C4 with a rule that FineWeb, and ptft, have turned off
Decisions = dict[str, set[str]]  # document -> the rules that drop it


def run(data: Path, cache: Path) -> None:
    for name, lang in SETS.items():
        source = data / f"{name}.jsonl"
        if not source.exists():
            continue
        try:
            theirs = datatrove(source, lang, cache)
        except (Missing, subprocess.CalledProcessError) as error:
            note(f"datatrove's rules on {name} left out: {error}")
            continue
        _compare(name, ptft(source, lang, cache), theirs)


def datatrove(source: Path, lang: str, cache: Path) -> Decisions:
    target = cache / "decisions" / f"{source.stem}.jsonl"
    if not target.exists():
        note(f"datatrove's rules on {source.stem}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        subprocess.run([python_of("datatrove", cache), SCRIPTS / "datatrove_rules.py", source, lang, part], check=True)
        part.rename(target)
    with target.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        return {row["id"]: {rule["rule"] for rule in row["rules"] if rule["dropped"]} - ONLY_THEIRS for row in rows}


def ptft(source: Path, lang: str, cache: Path) -> Decisions:
    """The rules that drop each document of the language, under datatrove's names; rules that datatrove has not are left out.

    C4's rules alone and the others alone: C4 drops lines first, and each of datatrove's filters was shown the whole text.
    """
    found: Decisions = {}
    others = ",".join(sorted(set(RULE_SETS) - {"c4", "noise"}))
    for rules in [others] if lang == "zh" else [others, "c4"]:
        out = cache / "out"
        ptft_clean(source, out, "--rules", rules, "--set", "duplicates.enabled=false")
        reasons = dropped(out)
        for row in pq.read_table(out / "signals.parquet", columns=["id", "language"]).to_pylist():
            if row["language"] == lang:
                named = {_named(why["rule"]) for why in reasons.get(row["id"], ())}
                found.setdefault(row["id"], set()).update(named - {None})
    return found


def _named(rule: str) -> str | None:
    """datatrove's name for `knob` or `set.knob`."""
    return NAMES.get(rule) or NAMES.get(rule.rpartition(".")[2])


def _compare(name: str, ours: Decisions, theirs: Decisions) -> None:
    theirs = {document: reasons for document, reasons in theirs.items() if document in ours}  # of the language
    both, only_ours, only_theirs = Counter[str](), Counter[str](), Counter[str]()
    for document, reasons in theirs.items():
        own = ours.get(document, set())
        both.update(reasons & own)
        only_ours.update(own - reasons)
        only_theirs.update(reasons - own)
    rules = sorted(set(both) | set(only_ours) | set(only_theirs))
    total = len(theirs)
    rows = [
        (
            rule,
            both[rule],
            only_ours[rule],
            only_theirs[rule],
            f"{1 - (only_ours[rule] + only_theirs[rule]) / total:.2%}",
        )
        for rule in rules
    ]
    drops = Counter((bool(ours.get(document)), bool(reasons)) for document, reasons in theirs.items())
    alone = drops[True, False], drops[False, True]
    rows.append(("any rule", drops[True, True], *alone, f"{1 - sum(alone) / total:.2%}"))
    table(
        f"Rules, {name} ({total:,} documents): who drops",
        ("rule", "both", "ptft alone", "datatrove alone", "agree"),
        rows,
    )
