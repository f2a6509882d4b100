"""datatrove's decision on every document, rule by rule; run in datatrove's own environment.

python datatrove_rules.py INPUT.jsonl en|zh OUTPUT.jsonl

A line a document: {"id", "rules": [{"rule", "dropped", "value", "limit"}], "first": [filter, reason], "c4": {...}}.
"dropped" comes from datatrove's own filter with only that rule switched on; "value" is computed with datatrove's functions,
as its filters do. "first" is what the filters say one after another, as in a pipeline (C4 changes the text that follows).
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words

# FineWeb-2's configs/cmn_Hani.yml
CHINESE_STOP_WORDS = [
    "的",
    "年",
    "在",
    "月",
    "是",
    "和",
    "日",
    "了",
    "於",
    "·",
    "為",
    "有",
    "被",
    "人",
    "中",
    "为",
    "他",
    "與",
    "後",
    "也",
    "而",
    "由",
]
ENGLISH = {
    "language": "eng",
    "repetition": {},
    "quality": {},
    "fineweb": {},
    "top": ((2, 0.2), (3, 0.18), (4, 0.16)),
    "duplicate": ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)),
}
CHINESE = {
    "language": "cmn_Hani",
    "repetition": {"dup_line_frac": 0.287, "dup_para_frac": 0, "dup_line_char_frac": 0, "dup_para_char_frac": 0},
    "quality": {
        "min_avg_word_length": 1, "max_avg_word_length": 5, "max_non_alpha_words_ratio": 0.735,
        "stop_words": CHINESE_STOP_WORDS, "min_stop_words": 2,
    },
    "fineweb": {
        "line_punct_thr": 0.106, "short_line_thr": 999, "char_duplicates_ratio": 0.1, "new_line_ratio": 0.178,
    },
    "top": ((2, 0.256), (3, 0.201), (4, 0.171)),
    "duplicate": ((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127)),
}  # fmt: skip
SETTINGS = {"en": ENGLISH, "zh": CHINESE}

Filter = Callable[[Document], "bool | tuple[bool, str]"]


def pipeline(lang: str) -> list:
    """The filters as FineWeb's and FineWeb-2's pipelines have them; C4 (English only) without its rule of terminal punctuation."""
    settings = SETTINGS[lang]
    common = {"language": settings["language"]}
    ngrams = {"top_n_grams": settings["top"], "dup_n_grams": settings["duplicate"]}
    quality = GopherQualityFilter(**settings["quality"], **common)
    fineweb = FineWebQualityFilter(**settings["fineweb"], **common)
    repetition = GopherRepetitionFilter(**settings["repetition"], **ngrams, **common)
    if lang == "zh":
        return [repetition, fineweb, quality]
    return [repetition, quality, C4QualityFilter(filter_no_terminal_punct=False, **common), fineweb]


def single_rules(lang: str) -> dict[str, tuple[Filter, float]]:
    """For each rule a filter of datatrove's with that rule alone, and its limit. A rule that is off in `lang` is left out."""
    settings, found = SETTINGS[lang], {}
    common = {"language": settings["language"]}
    off = dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"), 0)
    off |= {"top_n_grams": (), "dup_n_grams": ()}
    lines = {"dup_line_frac": 0.3, "dup_para_frac": 0.3, "dup_line_char_frac": 0.2, "dup_para_char_frac": 0.2}
    for name, limit in {**lines, **settings["repetition"]}.items():
        if limit:
            found[name] = GopherRepetitionFilter(**{**off, name: limit}, **common), limit
    for size, limit in settings["top"]:
        only = {**off, "top_n_grams": ((size, limit),)}
        found[f"top_{size}_gram"] = GopherRepetitionFilter(**only, **common), limit
    for size, limit in settings["duplicate"]:
        only = {**off, "dup_n_grams": ((size, limit),)}
        found[f"duplicated_{size}_n_grams"] = GopherRepetitionFilter(**only, **common), limit
    found |= _quality_rules(settings["quality"], common) | _fineweb_rules(settings["fineweb"], common)
    return found | (_c4_rules(common) if lang == "en" else {})


def _quality_rules(changed: dict, common: dict) -> dict[str, tuple[Filter, float]]:
    limits = {
        "min_doc_words": 50, "max_doc_words": 100_000, "min_avg_word_length": 3, "max_avg_word_length": 10,
        "max_symbol_word_ratio": 0.1, "max_bullet_lines_ratio": 0.9, "max_ellipsis_lines_ratio": 0.3,
        "max_non_alpha_words_ratio": 0.8, "min_stop_words": 2,
    }  # fmt: skip
    limits |= {name: value for name, value in changed.items() if name in limits}
    words = {"stop_words": changed["stop_words"]} if "stop_words" in changed else {}
    off = dict.fromkeys(limits)
    return {
        name: (GopherQualityFilter(**{**off, name: limit}, **words, **common), limit) for name, limit in limits.items()
    }


def _fineweb_rules(changed: dict, common: dict) -> dict[str, tuple[Filter, float]]:
    limits = {"line_punct_thr": 0.12, "short_line_thr": 0.67, "char_duplicates_ratio": 0.01, "new_line_ratio": 0.3}
    limits |= changed
    off = {"line_punct_thr": 0, "short_line_thr": 999, "char_duplicates_ratio": 999, "new_line_ratio": 1e9}
    return {
        name: (FineWebQualityFilter(**{**off, name: limit}, **common), limit)
        for name, limit in limits.items()
        if limit != 999
    }


def _c4_rules(common: dict) -> dict[str, tuple[Filter, float]]:
    """FineWeb's C4 has no rule of terminal punctuation; "_terminal" is C4's own."""
    off = dict.fromkeys(("filter_lorem_ipsum", "filter_curly_bracket", "filter_no_terminal_punct"), False)
    off |= {"min_num_sentences": -1}
    only = {
        "c4_lorem_ipsum": ({"filter_lorem_ipsum": True}, 0),
        "c4_curly_bracket": ({"filter_curly_bracket": True}, 0),
        "c4_too_few_sentences": ({"min_num_sentences": 5}, 5),
        "c4_too_few_sentences_terminal": ({"min_num_sentences": 5, "filter_no_terminal_punct": True}, 5),
    }
    return {name: (C4QualityFilter(**{**off, **changed}, **common), limit) for name, (changed, limit) in only.items()}


# ---------------------------------------------------------------- the raw values


def values(text: str, lang: str) -> dict[str, float]:
    """What datatrove's filters compare with their limits, by rule."""
    settings = SETTINGS[lang]
    words = split_into_words(text, settings["language"])
    found = {**_repetition(text, words, settings), **_quality(text, words, lang), **_fineweb(text, words, settings)}
    return {name: round(float(value), 6) for name, value in found.items()}


def _repetition(text: str, words: list[str], settings: dict) -> dict[str, float]:
    paragraphs, lines = re.split(r"\n{2,}", text.strip()), re.split("\n+", text)
    found = {}
    for name, parts in (("para", paragraphs), ("line", lines)):
        repeated, characters = find_duplicates(parts)
        found[f"dup_{name}_frac"] = repeated / len(parts)
        found[f"dup_{name}_char_frac"] = characters / len(text)
    for size, _ in settings["top"]:
        grams = get_n_grams(words, size)
        found[f"top_{size}_gram"] = find_top_duplicate(grams) / len(text) if grams else 0
        found[f"top_{size}_gram_count"] = Counter(grams).most_common(1)[0][1] if grams else 0
    for size, _ in settings["duplicate"]:
        found[f"duplicated_{size}_n_grams"] = find_all_duplicate(words, size) / len(text)
    return found


def _quality(text: str, words: list[str], lang: str) -> dict[str, float]:
    plain = [word for word in words if any(character not in PUNCTUATION_SET for character in word)]
    lines, count = text.splitlines(), max(1, len(words))
    stop_words = SETTINGS[lang]["quality"].get("stop_words") or ["the", "be", "to", "of", "and", "that", "have", "with"]
    length = np.mean([len(word) for word in plain]) if plain else 0
    return {
        "words": len(words), "min_doc_words": len(plain), "max_doc_words": len(plain),
        "min_avg_word_length": length, "max_avg_word_length": length,
        "max_symbol_word_ratio": max(text.count("#"), text.count("...") + text.count("…")) / count,
        "max_bullet_lines_ratio": sum(line.lstrip().startswith(("•", "-")) for line in lines) / max(1, len(lines)),
        "max_ellipsis_lines_ratio": sum(line.rstrip().endswith(("...", "…")) for line in lines) / max(1, len(lines)),
        "max_non_alpha_words_ratio": sum(any(c.isalpha() for c in word) for word in words) / count,
        "min_stop_words": len(set(stop_words) & set(words)),
    }  # fmt: skip


def _fineweb(text: str, words: list[str], settings: dict) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "line_punct_thr": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines) / max(1, len(lines)),
        "short_line_thr": sum(len(line) <= 30 for line in lines) / max(1, len(lines)),
        "char_duplicates_ratio": find_duplicates(lines)[1] / max(1, len(text.replace("\n", ""))),
        "new_line_ratio": text.count("\n") / max(1, len(words)),
    }


# ---------------------------------------------------------------- a document


def dropped_by(one: Filter, text: str) -> str:
    """The filter's reason; empty where it keeps the text."""
    try:
        result = one.filter(Document(text=text, id=""))
    except ZeroDivisionError:
        return "ZeroDivisionError"
    return "" if result is True else result[1] if isinstance(result, tuple) else "dropped"


def first_reason(filters: list, text: str) -> tuple[list[str] | None, str]:
    """The first filter that drops the text, with its reason, and the text that came out of the filters before it."""
    document = Document(text=text, id="")
    for one in filters:
        try:
            result = one.filter(document)
        except ZeroDivisionError:
            result = (False, "ZeroDivisionError")
        if result is not True:
            return [type(one).__name__, result[1]], document.text
    return None, document.text


def c4_lines(text: str, language: str) -> dict:
    """What C4 does to the lines: how many go by each rule, and the text that stays (not dropping any document)."""
    off = dict.fromkeys(("filter_lorem_ipsum", "filter_curly_bracket", "filter_no_terminal_punct"), False)
    one, counted = C4QualityFilter(**off, min_num_sentences=-1, language=language), Counter[str]()
    one.stat_update = lambda name, **_: counted.update([name])
    document = Document(text=text, id="")
    one.filter(document)
    return {"lines": dict(counted), "kept_text_characters": len(document.text), "kept_text": document.text}


def decide(row: dict, rules: dict, filters: list, lang: str) -> dict:
    text = row["text"]
    measured = values(text, lang) if text.strip() else {}
    decided = []
    for name, (one, limit) in rules.items():
        reason = dropped_by(one, text)
        decided.append({"rule": name, "dropped": bool(reason), "value": measured.get(name), "limit": limit})
    more = {name: measured.get(name) for name in ("words", "top_2_gram_count", "top_3_gram_count", "top_4_gram_count")}
    first, _ = first_reason(filters, text)
    c4 = {"c4": c4_lines(text, SETTINGS[lang]["language"])} if lang == "en" else {}
    return {"id": row["id"], "characters": len(text), "rules": decided, "first": first, "more": more, **c4}


def main(source: str, lang: str, target: str) -> None:
    rules, filters = single_rules(lang), pipeline(lang)
    with Path(source).open(encoding="utf-8") as lines, Path(target).open("w", encoding="utf-8") as file:
        for line in lines:
            decision = decide(json.loads(line), rules, filters, lang)
            file.write(json.dumps(decision, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
