"""Quality rules: every knob has a measure, each fires on a text made for it, and normal documents pass."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from documents import chinese, documents, english

from ptft.core.minhash import tokenise
from ptft.core.text import language
from ptft.stages.clean.recipe import ChineseRules, EnglishRules
from ptft.stages.clean.rules import Reason, _repetition, broken_rules

RNG = random.Random(3)
GOOD, GUT = english(RNG, 12), chinese(RNG, 12)


def broken(text: str, lang: str | None = None) -> list[Reason]:
    tokens = tokenise([text])
    return broken_rules(text, lang or language(text), *tokens.of(0), EnglishRules(), ChineseRules())


def test_normal_documents_pass() -> None:
    assert [row["id"] for row in documents(200) if broken(row["text"])] == []


CASES: dict[str, tuple[str, str]] = {
    "min_words": ("en", "The first of the few words."),
    "max_words": ("en", " ".join(f"the of w{number}" for number in range(34_000))),
    "min_mean_word_length": ("en", "to be of an it as at so by he " * 6),
    "max_mean_word_length": ("en", GOOD.replace(" ", "mmmmmmmmm ") + " the of"),
    "max_symbols_per_word": ("en", " ".join(f"#{word}" for word in GOOD.split()) + " the of"),
    "max_bullet_lines": ("en", "\n".join(f"- {line}" for line in GOOD.replace(". ", ".\n").split("\n"))),
    "max_ellipsis_lines": ("en", GOOD.replace(".", "...\n")),
    "min_alphabetic_words": ("en", GOOD + " 1 2 3" * 40),
    "min_stop_words": ("en", " ".join(f"quick{chr(97 + number % 26)}{chr(97 + number // 26)} brown" for number in range(60))),
    "max_duplicate_lines": ("en", GOOD + "\nSo.\nSo.\nSo.\nSo."),
    "max_duplicate_line_characters": ("en", GOOD + "\n" + GOOD.split("\n")[0] + "\n" + GOOD.split("\n")[1]),
    "max_duplicate_paragraphs": ("en", "\n\n".join([GOOD, "So.", "So.", "So."])),
    "max_duplicate_paragraph_characters": ("en", "\n\n".join([GOOD, GOOD])),
    "max_top_2gram": ("en", GOOD + " extraordinarily magnificent" * 30),
    "max_top_3gram": ("en", GOOD + " one extraordinarily magnificent" * 20),
    "max_top_4gram": ("en", GOOD + " one two extraordinarily magnificent" * 20),
    **{f"max_duplicate_{size}gram": ("en", GOOD + " " + GOOD[: len(GOOD) // 2]) for size in range(5, 11)},
    "min_characters": ("zh", "今天天气很好，我们去公园。"),
    "max_characters": ("zh", GUT * 2000),
    "min_alphabetic": ("zh", GUT + "=" * 600),
    "min_punctuated_lines": ("zh", GUT.replace("。", "").replace("，", "\n")),
    "max_newlines_per_character": ("zh", "\n".join(GUT.replace("，", "").replace("。", "")[at : at + 4] for at in range(0, 200, 4))),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "lang", "text"), [(rule, lang, text) for rule, (lang, text) in CASES.items()])
def test_each_rule_fires(rule: str, lang: str, text: str) -> None:
    fired = {reason.rule: reason for reason in broken(text, lang)}
    assert rule in fired
    value, limit = fired[rule].value, fired[rule].limit
    assert value < limit if rule.startswith("min") else value > limit  # type: ignore[operator]
    assert limit == getattr(EnglishRules() if lang == "en" else ChineseRules(), rule)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("max_duplicate_lines", GUT + "\n如此。" * 6),
        ("max_top_2gram", GUT[:120] + "快来" * 40),
        ("max_top_3gram", GUT[:120] + "快来吧" * 30),
        ("max_top_4gram", GUT[:120] + "快来看吧" * 30),
        ("max_duplicate_10gram", GUT + GUT[:150]),
        ("min_stop_words", "山高水长路漫漫，花红柳绿草青青，" * 3 + "春去秋来人未还"),
    ],
)
def test_each_chinese_rule_fires(rule: str, text: str) -> None:
    assert rule in {reason.rule for reason in broken(text, "zh")}


def test_every_knob_is_tested() -> None:
    english_rules = {field.name for field in dataclasses.fields(EnglishRules)}
    assert english_rules <= CASES.keys()


def test_a_rule_can_be_set_aside() -> None:
    tokens = tokenise(["Two words"])
    limits = EnglishRules(min_words=0, min_stop_words=0)
    assert broken_rules("Two words", "en", *tokens.of(0), limits, ChineseRules()) == []


def test_empty_text_divides_by_nothing() -> None:
    for lang in ("en", "zh", "und"):
        broken("", lang)
        broken("!!", lang)


def test_stop_words_are_for_their_language_only() -> None:
    russian = "Старый учитель медленно открыл дверь дома у реки и увидел письмо. " * 2
    assert "min_stop_words" not in {reason.rule for reason in broken(russian)}


# ---------------------------------------------------------------- n-grams against the plain definition


def by_definition(words: list[str]) -> dict[str, float]:
    total = sum(map(len, words))
    measures: dict[str, float] = {}
    for size in range(2, 11):
        grams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
        counts: dict[Any, int] = {gram: grams.count(gram) for gram in grams}
        if size < 5:
            best = max(counts.values(), default=0)
            longest = max((sum(map(len, gram)) for gram, count in counts.items() if count == best), default=0)
            measures[f"top_{size}gram"] = min(1.0, best * longest / total) if best > 1 else 0.0
        else:
            again = [at for at, gram in enumerate(grams) if gram in grams[:at]]
            covered = {place for at in again for place in range(at, at + size)}
            measures[f"duplicate_{size}gram"] = sum(len(words[place]) for place in covered) / total
    return measures


@pytest.mark.parametrize("seed", range(20))
def test_ngrams_are_those_of_the_plain_definition(seed: int) -> None:
    rng = random.Random(seed)
    words = [rng.choice(["a", "bb", "ccc", "dddd"][: 2 + seed % 3]) for _ in range(rng.randint(1, 60))]
    tokens = tokenise([" ".join(words)])
    assert _repetition(*tokens.of(0)) == pytest.approx(by_definition(words))


def test_a_clean_short_sentence_repeats_nothing() -> None:
    """datatrove counts n-grams that occur once, and so drops every short sentence."""
    tokens = tokenise(["Twelve different words make one clean sentence that should never be dropped here"])
    assert set(_repetition(*tokens.of(0)).values()) == {0.0}
