"""What a copy has to keep of its source, in both languages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.recipes import Recipe, knob, resolve
from ptft.stages.clean.augment.guards import REASONS, canonical, judge, names, numbers, similarity
from ptft.stages.clean.augment.recipe import Augment

LOOSE = Augment(min_similarity=0, max_similarity=1, max_length_ratio=100)


@pytest.mark.parametrize(
    ("source", "copy", "reason"),
    [
        ("Shares rose 2% to $11.1bn.", "Stocks rose 2% to $11.1bn.", ""),
        ("Shares rose 2% to $11.1bn.", "Stocks rose 2% to $11.1 billion.", ""),
        ("Shares rose 2% to $11.1bn.", "Stocks rose 2 per cent to $11.1bn.", ""),
        ("It cost $10bn to build.", "It cost 10 trillion dollars to build.", "numbers"),
        ("It cost $10bn to build.", "It cost $10m to build.", "numbers"),
        ("It cost $10bn to build.", "It cost £10bn to build.", "numbers"),
        ("It cost $1,000 to build.", "It cost $1000 to make.", ""),
        ("It cost $1.5 to build.", "It cost $1,5 to make.", "numbers"),
        ("Five people came by 9:30.", "Six people came by 9:30.", "numbers"),
        ("The 2nd of 3 came home.", "The 3rd of 2 came home.", "numbers"),
        ("He moved to London in spring.", "He went to Paris in spring.", "names"),
        ("He moved to London in spring.", "He went to London in spring.", ""),
        ("He moved to London in spring.", "He moved to town in spring.", "names"),
        ("He moved to town in spring.", "He moved to London in spring.", "names"),
        ("Ask Jeeves is now a modest player.", "It asks Jeeves, now a modest player.", "names"),
        ("The Odeon is now a small chain.", "It is Odeon that is now a small chain.", ""),
        ("The firm, said BT, is fine.", "The company, said BBC, is fine.", "names"),
        ('"Yes," Mr Smith said then.', '"Yes," Gentleman Smith said then.', "names"),
        ("I think it is good.", "I believe it is good.", ""),
        ("It did not rain today.", "It did rain today.", "negation"),
        ("It didn't rain today.", "It did not rain this day.", ""),
        ("It rained today.", "  ", "empty"),
        ("It rained today.", "it  rained, today!", "duplicate"),
        ("去年增长了百分之五，达到3万元。", "去年增加了百分之五，达到3万元。", ""),
        ("去年增长了百分之五，达到3万元。", "去年增加了百分之六，达到3万元。", "numbers"),
        ("去年增长了5%，达到3万元。", "去年增加了5%，达到3亿元。", "numbers"),
        ("去年增长了５％。", "去年增加了5%。", ""),
        ("一些人用 Linux 系统。", "有些人用 Windows 系统。", "names"),
        ("他读《红楼梦》很久了。", "他读《水浒传》很久了。", "names"),
        ("他读《红楼梦》很久了。", "他看《红楼梦》很久了。", ""),
        ("他不高兴。", "他很高兴。", "negation"),
        ("今天，天气很好！", "今天天气很好", "duplicate"),
    ],
)
def test_the_guards(source: str, copy: str, reason: str) -> None:
    assert judge(source, copy, LOOSE).reason == reason
    assert reason in ("", *REASONS)


def test_the_band_of_similarity_and_of_length() -> None:
    recipe = Augment(min_similarity=0.5, max_similarity=0.9, max_length_ratio=1.5)
    source = "the cat sat on the mat and it slept there"
    assert judge(source, "the cat sat on the rug and it slept there", recipe).reason == ""
    assert (
        judge(source, "one two".replace("one two", "a dog ran by a lake while we were cold"), recipe).reason
        == "too different"
    )
    assert judge(source, f"{source} well", recipe).reason == "too similar"
    assert judge(source, "the cat sat", recipe).reason == "length"
    assert judge(source, f"{source} and {source}", recipe).reason == "length"


def test_similarity_is_the_jaccard_of_two_bags() -> None:
    def of(left: str, right: str) -> float:
        return similarity(canonical(left), canonical(right))

    assert of("a b c d", "a b c e") == pytest.approx(3 / 5)
    assert of("a a b", "a b") == pytest.approx(2 / 3)  # a repeated word counts as often as it is there
    assert of("天气很好", "天气真好") == pytest.approx(3 / 5)
    assert of("x", "y") == 0 and of("", "") == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("TimeWarner jumped 76% to $1.13bn (£600m)", {"76%": 1, "$1.13billion": 1, "£600million": 1}),
        ("in the 1990s, 2,000 of -5", {"1990s": 1, "2000": 1, "-5": 1}),
        ("two of three million", {"two": 1, "three": 1, "million": 1}),
        ("第三季度 12 月 5 日", {"三": 1, "12月": 1, "5日": 1}),
        ("一些", {}),
    ],
)
def test_numbers(text: str, found: dict[str, int]) -> None:
    assert dict(numbers(text)) == found


def test_names() -> None:
    assert names("The firm and Time Warner of New York, a BT rival.") == {"Time", "Warner", "New", "York", "BT"}
    assert names("Then we left. We saw it.") == set()
    assert names("我用 Python 3 读《三体》。") == {"Python", "《三体》"}


WORDS = st.sampled_from(
    ["the", "a", "old", "firm", "market", "rose", "fell", "today", "quickly", "市场", "公司", "上涨", "很", "快"]
)


@settings(max_examples=200)
@given(
    st.lists(WORDS, min_size=1, max_size=12),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 99),
    st.booleans(),
)
def test_a_changed_number_is_never_accepted(
    words: list[str], number: int, other: int, seed: int, percent: bool
) -> None:
    rng = random.Random(seed)
    place, unit = rng.randrange(len(words) + 1), "%" if percent else ""
    source = " ".join([*words[:place], f"{number:,}{unit}", *words[place:]])
    shuffled = rng.sample(words, len(words))
    copy = " ".join([*shuffled[:place], f"{other}{unit}", *shuffled[place:]])
    verdict = judge(source, copy, LOOSE)
    if number != other:
        assert verdict.reason == "numbers"
    assert judge(source, copy.replace(str(other), ""), LOOSE).reason == "numbers"
    assert judge(source, f"{copy} 7", LOOSE).reason == "numbers"


@settings(max_examples=200)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_can_be_judged(source: str, copy: str) -> None:
    verdict = judge(source, copy, Augment())
    assert verdict.reason in ("", *REASONS) and 0 <= verdict.similarity <= 1
    if not verdict.reason:
        assert numbers_equal(source, copy) and canonical(source) != canonical(copy)
    assert judge(source, source, Augment()).reason in ("empty", "duplicate")


def numbers_equal(source: str, copy: str) -> bool:
    import unicodedata

    return numbers(unicodedata.normalize("NFKC", source)) == numbers(unicodedata.normalize("NFKC", copy))


# ---------------------------------------------------------------- knobs


class TestRecipe:
    def test_kinds_are_named_in_any_order(self) -> None:
        assert Augment(kind="back-translation, synonyms").kinds == ("synonyms", "back-translation")
        assert Augment().kinds == ()

    def test_problems(self) -> None:
        assert Augment().problems() == []
        recipe = Augment(kind="synonym", min_similarity=0.9, max_similarity=0.5, apertium="engspa")
        assert len(recipe.problems()) == 3
        from ptft.stages.clean.augment.recipe import Translators

        assert "both models" in Augment(chinese=Translators(forward="x")).problems()[0]

    def test_it_nests_in_a_recipe(self) -> None:
        from dataclasses import dataclass

        @dataclass(frozen=True, kw_only=True)
        class Outer(Recipe):
            augment: Augment = knob(Augment, "more rows")

        globals()["Outer"] = Outer
        made = resolve(Outer, "clean", flags={"augment.kind": "synonyms"}, sets=["augment.chinese.forward=hf:a/b"])
        assert made.augment.kinds == ("synonyms",) and made.augment.chinese.forward == "hf:a/b"
