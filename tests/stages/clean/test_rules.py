"""Rules: every knob has a measure, each fires on a text made for it and at its published limit, and normal documents pass."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from documents import chinese, documents, english

from ptft.core.minhash import tokenise
from ptft.core.text import language
from ptft.stages.clean.recipe import RULE_SETS, CleanRecipe
from ptft.stages.clean.rules import Reason, broken_rules, rules_of
from ptft.stages.clean.signals.measure import NAMES, measure
from ptft.stages.clean.signals.repetition import NAMES as REPETITION
from ptft.stages.clean.signals.repetition import repetition

RNG = random.Random(3)
GOOD, GUT = english(RNG, 12), chinese(RNG, 12)
WEB = CleanRecipe(rules="web")


def broken(text: str, lang: str | None = None, recipe: CleanRecipe = WEB) -> list[Reason]:
    lang = lang or language(text)
    table = measure([text], [lang], tokenise([text]))
    return broken_rules(rules_of(recipe), table, [lang], np.ones(1, np.float32))[0]


def measured(text: str, lang: str = "en") -> dict[str, float]:
    values = measure([text], [lang], tokenise([text]))[0]
    return {name: float(value) for name, value in zip(NAMES, values, strict=True)}


def test_normal_documents_pass() -> None:
    assert [row["id"] for row in documents(200) if broken(row["text"], recipe=CleanRecipe())] == []


HALVES = {size: GOOD + " " + GOOD[: len(GOOD) // 2] for size in range(5, 11)}
REPEATED = dict.fromkeys(range(5, 11), GUT + GUT[:150])
CASES: dict[str, str] = {
    "gopher_quality.min_words": "The first of the few words.",
    "gopher_quality.max_words": " ".join(f"the of w{number}" for number in range(34_000)),
    "gopher_quality.min_mean_word_length": "to be of an it as at so by he " * 6,
    "gopher_quality.max_mean_word_length": GOOD.replace(" ", "mmmmmmmmm ") + " the of",
    "gopher_quality.max_symbols_per_word": " ".join(f"#{word}" for word in GOOD.split()) + " the of",
    "gopher_quality.max_bullet_lines": "\n".join(f"- {line}" for line in GOOD.replace(". ", ".\n").split("\n")),
    "gopher_quality.max_ellipsis_lines": GOOD.replace(".", "...\n"),
    "gopher_quality.min_alphabetic_words": GOOD + " 1 2 3" * 40,
    "gopher_quality.min_stop_words": " ".join(
        f"quick{chr(97 + number % 26)}{chr(97 + number // 26)} brown" for number in range(60)
    ),
    "gopher_repetition.max_duplicate_lines": GOOD + "\nSo.\nSo.\nSo.\nSo.",
    "gopher_repetition.max_duplicate_line_characters": GOOD + "\n" + GOOD.split("\n")[0] + "\n" + GOOD.split("\n")[1],
    "gopher_repetition.max_duplicate_paragraphs": "\n\n".join([GOOD, "So.", "So.", "So."]),
    "gopher_repetition.max_duplicate_paragraph_characters": "\n\n".join([GOOD, GOOD]),
    "gopher_repetition.max_top_2gram": GOOD + " extraordinarily magnificent" * 30,
    "gopher_repetition.max_top_3gram": GOOD + " one extraordinarily magnificent" * 20,
    "gopher_repetition.max_top_4gram": GOOD + " one two extraordinarily magnificent" * 20,
    **{f"gopher_repetition.max_duplicate_{size}gram": text for size, text in HALVES.items()},
    "c4.max_lorem_ipsum": GOOD + " Lorem ipsum dolor sit amet.",
    "c4.max_curly_brackets": GOOD + " if (x) { return; }",
    "c4.min_sentences": "One of the four. Two of the four! Three? Four.",
    "fineweb.min_punctuated_lines": GOOD.replace(".", "").replace(" that ", "\nthat "),
    "fineweb.max_short_lines": "\n".join(GOOD[start : start + 25] for start in range(0, 400, 25)),
    "fineweb.max_duplicate_line_characters": GOOD + "\n" + GOOD.split("\n")[0],
    "fineweb.max_newlines_per_word": "\n".join(f"The {word}" for word in GOOD.split()),
    "fineweb2.min_words": "今天天气很好，我们去公园。",
    "fineweb2.max_words": GUT * 1000,
    "fineweb2.max_mean_word_length": "的年，" * 22 + "，".join(["Internationalization"] * 15),
    "fineweb2.max_symbols_per_word": GUT + "#" * 60,
    "fineweb2.max_bullet_lines": "\n".join(f"• {line}" for line in GUT.replace("。", "。\n").strip().split("\n")),
    "fineweb2.max_ellipsis_lines": GUT.replace("。", "…\n"),
    "fineweb2.min_alphabetic_words": GUT + " 1 2 3" * 40,
    "fineweb2.min_stop_words": "山高水长路漫漫，花红柳绿草青青，" * 3 + "春去秋来何时还",
    "fineweb2.min_punctuated_lines": GUT.replace("。", "").replace("，", "\n"),
    "fineweb2.max_newlines_per_word": "\n".join(GUT.replace("，", "").replace("。", "")[at : at + 4] for at in range(0, 200, 4)),
    "fineweb2.max_duplicate_lines": GUT + "\n如此。" * 6,
    "fineweb2.max_duplicate_line_characters": GUT + "\n" + GUT.split("\n")[0],
    "fineweb2.max_top_2gram": GUT[:120] + "快来，" * 60,
    "fineweb2.max_top_3gram": GUT[:120] + "快来吧，" * 40,
    "fineweb2.max_top_4gram": GUT[:120] + "快来看吧，" * 30,
    **{f"fineweb2.max_duplicate_{size}gram": text for size, text in REPEATED.items()},
    "noise.max_lorem_ipsum": GOOD + " Lorem ipsum dolor sit amet.",
    "noise.max_boilerplate_lines": "All rights reserved.\nWe use cookies on this site.\nSubscribe to our newsletter.\nRead more",
    "noise.max_spam": "加微信 abc12345 领取优惠券，全场 5 折，限时抢购！！！立即扫码，免费领取，QQ 12345678，加V咨询，低价出售！",
    "noise.max_code_share": "def f(x):\n    return x + 1\n\nfor i in range(3):\n    print(f(i))\n#include <stdio.h>\nint main() { return 0; }",
}  # fmt: skip
NOT_OF_A_TEXT = {"fineweb.min_language_score", "fineweb2.min_language_score"}  # measured elsewhere
NOT_OF_A_TEXT |= {"fineweb2.min_mean_word_length"}  # 1: no word is shorter


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_fires(rule: str) -> None:
    fired = {reason.rule: reason for reason in broken(CASES[rule], "zh" if rule.startswith("fineweb2") else None)}
    assert rule in fired
    rule_set, _, knob = rule.partition(".")
    value, limit = fired[rule].value, fired[rule].limit
    assert value < limit if knob.startswith("min") else value > limit  # type: ignore[operator]
    assert limit == getattr(getattr(WEB, rule_set), knob)


def test_every_rule_is_tested() -> None:
    assert {rule.name for rule in rules_of(WEB)} == CASES.keys() | NOT_OF_A_TEXT


def test_every_limit_is_a_rule() -> None:
    """A knob min_X or max_X without a measure X would be no rule at all; those that edit lines are none by intent."""
    named = {rule.name for rule in rules_of(WEB)}
    for rule_set in RULE_SETS:
        for field in dataclasses.fields(getattr(WEB, rule_set)):
            if field.name.startswith(("min_", "max_")):
                assert f"{rule_set}.{field.name}" in named | {"c4.min_line_words", "c4.max_word_characters"}


def test_a_language_score_is_held_to_its_limit() -> None:
    table = measure([GOOD, GUT], ["en", "zh"], tokenise([GOOD, GUT]))
    found = broken_rules(rules_of(WEB), table, ["en", "zh"], np.array([0.64, 0.69], np.float32))
    assert [reason.rule for reason in found[0]][-1] == "fineweb.min_language_score"
    assert Reason("fineweb2.min_language_score", 0.69, 0.692) in found[1]


def test_a_value_at_its_limit_breaks_nothing() -> None:
    text = "\n".join([*(f"Line {number} of the text stands here alone." for number in range(7)), *["So."] * 4])
    assert measured(text)["duplicate_lines"] == pytest.approx(3 / 11)
    limits = dataclasses.replace(WEB.gopher_repetition, max_duplicate_lines=3 / 11)
    fired = {reason.rule for reason in broken(text, recipe=dataclasses.replace(WEB, gopher_repetition=limits))}
    assert "gopher_repetition.max_duplicate_lines" not in fired


def test_a_rule_can_be_set_aside() -> None:
    limits = dataclasses.replace(WEB.gopher_quality, min_words=0, min_stop_words=0)
    assert broken("Two words", "en", CleanRecipe(gopher_quality=limits)) == []


def test_rules_are_those_of_the_sets_named() -> None:
    assert {rule.rule_set for rule in rules_of(CleanRecipe(rules="c4, noise"))} == {"c4", "noise"}
    assert rules_of(CleanRecipe(rules="off")) == ()
    assert CleanRecipe(rules="gopher").problems() and not CleanRecipe(rules="fineweb").problems()


def test_empty_text_divides_by_nothing() -> None:
    for lang in ("en", "zh", "und", "ja", "th"):
        for text in ("", "!!", "\n\n", " "):
            broken(text, lang)


def test_stop_words_are_for_their_language_only() -> None:
    russian = "Старый учитель медленно открыл дверь дома у реки и увидел письмо. " * 2
    assert "gopher_quality.min_stop_words" not in {reason.rule for reason in broken(russian, "ru")}


def test_a_text_is_measured_alike_alone_and_in_a_batch() -> None:
    texts = [row["text"] for row in documents(60)] + list(CASES.values())
    languages = [language(text) for text in texts]
    together = measure(texts, languages, tokenise(texts))
    alone = [measure([text], [lang], tokenise([text]))[0] for text, lang in zip(texts, languages, strict=True)]
    assert np.array_equal(together, np.stack(alone), equal_nan=True)


# ---------------------------------------------------------------- measures against values counted by hand

FOX = "The quick brown fox -- it's 3 years old -- jumps.\n• over the lazy dog...\n\nEnd of story"


def test_gopher_measures_counted_by_hand() -> None:
    found = measured(FOX)
    words = FOX.split()
    plain = [word for word in words if any(char.isalnum() for char in word)]
    assert len(words) == 19 and found["words"] == len(plain) == 16
    assert found["mean_word_length"] == pytest.approx(sum(map(len, plain)) / 16)
    assert found["alphabetic_words"] == pytest.approx(15 / 19)  # not: --, 3, --, •
    assert found["symbols_per_word"] == pytest.approx(1 / 19)
    assert found["bullet_lines"] == found["ellipsis_lines"] == pytest.approx(1 / 3)
    assert found["stop_words"] == 2  # the, of


def test_fineweb_and_c4_measures_counted_by_hand() -> None:
    found = measured(FOX)
    assert found["punctuated_lines"] == pytest.approx(2 / 3)
    assert found["short_lines"] == pytest.approx(2 / 3)  # lines of 49, 23 and 12 characters
    # 17 words as FineWeb counts them (it's: it and s), and the marks - - ' - - . • . . .
    assert found["newlines_per_word"] == pytest.approx(3 / 27)
    assert found["sentences"] == 3
    assert measured('He said "no." She left! (Or did she?) 3.5 km. e.g. this')["sentences"] == 6
    assert measured(".. note:: read\n... and so on ...\nWhat?!")["sentences"] == 3
    assert measured("真的吗？！是的。好", "zh")["sentences"] == 3
    assert measured("a {b} {")["curly_brackets"] == 2


def test_repeated_lines_counted_by_hand() -> None:
    found = measured("aa\nbbbb\naa\n\naa\nbbbb\naa\n\ncc")
    assert found["duplicate_lines"] == pytest.approx(4 / 7)
    assert found["duplicate_line_characters"] == pytest.approx(10 / 18)
    assert found["duplicate_paragraphs"] == pytest.approx(1 / 3)
    assert found["duplicate_paragraph_characters"] == pytest.approx(10 / 22)


def test_chinese_measures_counted_by_hand() -> None:
    found = measured("我来到北京清华大学。", "zh")  # 我 来到 北京 清华大学 。
    assert found["words"] == 4
    assert found["mean_word_length"] == pytest.approx(9 / 4)
    assert found["alphabetic_words"] == 1
    assert found["newlines_per_word"] == 0
    assert measured("今年的天气和去年一样，是好的。", "zh")["stop_words"] == 3  # 的 和 是


def test_scripts_without_spaces_are_not_judged_by_words() -> None:
    assert np.isnan(measured("วันนี้อากาศดีมาก", "th")["words"])
    assert [reason.rule for reason in broken("วันนี้อากาศดีมาก", "th")] == []


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
    assert repeated([words]) == [pytest.approx(by_definition(words))]


def repeated(texts: list[list[str]]) -> list[dict[str, float]]:
    tokens = tokenise([" ".join(words) for words in texts])
    sizes = np.array([sum(map(len, words)) for words in texts])
    table = repetition(tokens.hashes, tokens.lengths, tokens.offsets, sizes)
    return [dict(zip(REPETITION, row, strict=True)) for row in table.tolist()]


def test_ngrams_of_one_text_are_not_those_of_another() -> None:
    rng = random.Random(7)
    texts = [[rng.choice(["a", "bb", "ccc"]) for _ in range(rng.randint(1, 30))] for _ in range(50)]
    assert repeated(texts) == [pytest.approx(by_definition(words)) for words in texts]


def test_a_clean_short_sentence_repeats_nothing() -> None:
    """datatrove counts n-grams that occur once, and so drops every short sentence."""
    words = [
        "Twelve",
        "different",
        "words",
        "make",
        "one",
        "clean",
        "sentence",
        "that",
        "should",
        "never",
        "be",
        "dropped",
        "here",
    ]
    assert set(repeated([words])[0].values()) == {0.0}
