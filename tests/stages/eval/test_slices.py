"""Scores by slice: which slice a row is in, and that a slice's scores are those of its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import UsageError
from ptft.core.metrics.kinds import measures
from ptft.core.metrics.measure import Measure, of_mean, scores
from ptft.core.rows import Row
from ptft.stages.eval.question import question
from ptft.stages.eval.slices import EDGES, MOST_VALUES, length_bin, require, scores_by, values_of

ENGLISH = "The government said on Tuesday that new homes would be built, and that they would cost less than before."
CHINESE = "政府周二表示，到2031年将新建1250套住房，人工智能公司也会参与设计。"
GERMAN = "Die Regierung sagte am Dienstag, dass neue Wohnungen gebaut werden sollen, die weniger kosten als bisher."


def row(**data):
    return Row({"id": "1", **data}, "rows.jsonl", 1)


def test_values_are_shown_as_texts():
    found = values_of(
        [row(text="a", topic="sport", meta={"year": 2004, "tags": ["x", "y"]}), row(text="b", topic=None), row(text="c", topic=" ")],
        ("topic", "meta.year", "meta.tags"),
    )  # fmt: skip
    assert found == [
        {"topic": "sport", "meta.year": "2004", "meta.tags": '["x","y"]'},
        {"topic": "(none)", "meta.year": "(none)", "meta.tags": "(none)"},
        {"topic": "(empty)", "meta.year": "(none)", "meta.tags": "(none)"},
    ]


def test_a_field_with_a_dot_in_its_name_goes_before_a_nested_one():
    assert values_of([row(text="a", **{"a.b": True, "a": {"b": 1}})], ("a.b",)) == [{"a.b": "true"}]


def test_languages_are_found_where_rows_have_none():
    rows = [
        row(text=CHINESE, label="x"),
        row(text=ENGLISH),
        row(text=GERMAN),
        row(text=ENGLISH, lang="en-GB"),
        row(text="12"),
    ]
    assert [one["lang"] for one in values_of(rows, ("lang",))] == ["zh", "en", "de", "en-GB", "und"]


def test_the_language_is_that_of_the_input_not_of_the_answer():
    assert values_of([row(source=ENGLISH, target=CHINESE)], ("lang",)) == [{"lang": "en"}]
    chat = [{"role": "user", "content": CHINESE}, {"role": "assistant", "content": ENGLISH * 9}]
    assert values_of([row(messages=chat)], ("lang", "length")) == [{"lang": "zh", "length": "0-99"}]


@pytest.mark.parametrize(
    ("length", "bin"), [(0, "0-99"), (99, "0-99"), (100, "100-299"), (9999, "3000-9999"), (10_000, "10000+")]
)
def test_lengths(length, bin):
    assert values_of([row(text="字" * length)], ("length",)) == [{"length": bin}]


@given(st.integers(0, 10**6))
def test_every_length_is_in_its_bin(length):
    low, _, high = length_bin(length).rstrip("+").partition("-")
    assert int(low) <= length and (length <= int(high) if high else length >= EDGES[-1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([ENGLISH, CHINESE, GERMAN, ""]), max_size=8), st.integers(0, 8))
def test_blocks_do_not_matter(texts, cut):
    rows = [row(text=text) for text in texts]
    whole = values_of(rows, ("lang", "length"))
    assert whole == values_of(rows[:cut], ("lang", "length")) + values_of(rows[cut:], ("lang", "length"))


@pytest.mark.parametrize(("data", "asked"), [
    ({"text": "a", "label": "b"}, "a"), ({"text": "a", "text_pair": "b", "label": "c"}, "a\nb"),
    ({"instruction": "do", "input": "it", "output": "done"}, "do\n\nit"), ({"prompt": "a", "chosen": "b", "rejected": "c"}, "a"),
    ({"question": "q", "context": "c", "answers": ["a"]}, "q\nc"), ({"tokens": ["a", "b"], "tags": ["O", "O"]}, "a b"),
    ({"input": "i", "reference": "r", "prediction": "p"}, "i"), ({"reference": "r", "prediction": "p"}, "r"),
    ({"input": {"question": "q", "context": "c"}, "reference": ["r"], "prediction": "p"}, "q\nc"),
    ({"title": "t", "choices": ["x", "y"], "answer": "x"}, "t\nx\ny"), ({"prompt": "a", "completion": "b"}, "a"),
    ({"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}, {"from": "human", "value": "i"}, {"from": "gpt", "value": "j"}]}, "h\ng\ni"),
])  # fmt: skip
def test_questions_hold_no_answers(data, asked):
    assert question({"id": "1", **data}) == asked


# ---------------------------------------------------------------- fields that are not there


def test_a_field_that_no_row_has_is_named_with_the_nearest():
    rows = [row(text="a", topic="b"), row(text="a", meta={"source": "x"})]
    with pytest.raises(UsageError, match="no row has the field 'topics'") as raised:
        require(rows, ("lang", "topics"))
    assert "did you mean topic?" in raised.value.remedy and "meta.source" in raised.value.remedy
    require(rows, ("topic", "meta.source", "lang", "length"))


def test_looking_for_fields_stops_where_all_are_found():
    def rows():
        yield row(topic="b")
        raise AssertionError("read on")

    require(rows(), ("topic",))
    require(rows(), ("lang",))


# ---------------------------------------------------------------- scores


def predictions(values, references="aabab", predicted="aaabb"):
    return [
        {"id": str(number), "reference": reference, "prediction": prediction, "by": {"f": value}}
        for number, (reference, prediction, value) in enumerate(zip(references, predicted, values, strict=True))
    ]


def test_scores_of_a_slice_are_those_of_its_rows():
    rows = predictions(["x", "y", "x", "y", "x"])
    made = measures("labels", rows, ("accuracy", "f1"))
    found = scores_by(made, rows, ("f",), 200)["f"]
    for value in "xy":
        alone = [one for one in rows if one["by"]["f"] == value]
        expected = scores(measures("labels", alone, ("accuracy", "f1")), 200)
        assert found[value]["n"] == len(alone) and list(found[value]["metrics"]) == ["accuracy", "f1"]
        for name in ("accuracy", "f1"):
            assert found[value]["metrics"][name]["score"] == expected[name]["score"]
            assert found[value]["metrics"][name]["ci95"] == expected[name]["ci95"]
            assert set(found[value]["metrics"][name]) == {"score", "ci95"}


def test_a_measure_without_parts_is_sliced_all_the_same():
    own = np.array([0.0, 1.0, 1.0, 0.0])
    whole = of_mean("m", own)
    without = Measure("w", 4, whole.statistic)
    rows = predictions("xyxy", "aaaa", "aaaa")
    for value in scores_by([whole, without], rows, ("f",), 300)["f"].values():
        assert value["metrics"]["m"] == value["metrics"]["w"]
    f1 = measures("labels", predictions("xyxyx"), ("f1", "mcc", "recall_binary"))
    plain = [replace(measure, part=None) for measure in f1]
    assert scores_by(f1, predictions("xyxyx"), ("f",), 50) == scores_by(plain, predictions("xyxyx"), ("f",), 50)


def test_many_values_are_the_most_frequent_and_the_rest():
    values = ["many"] * 3 + [f"v{number:02}" for number in range(60)]
    rows = predictions(values, "a" * 63, "a" * 60 + "bbb")
    found = scores_by(measures("labels", rows, ("accuracy",)), rows, ("f",), 0)["f"]
    assert len(found) == MOST_VALUES + 1 and next(iter(found)) == "many" and list(found)[-1] == "(other)"
    assert found["(other)"] == {"n": 11, "metrics": {"accuracy": {"score": 8 / 11, "ci95": None}}}


def test_lengths_are_in_their_order():
    rows = predictions(["1000-2999", "0-99", "10000+", "1000-2999", "100-299"])
    found = scores_by(measures("labels", rows, ("accuracy",)), rows, ("f",), 0)["f"]
    assert list(found) == ["0-99", "100-299", "1000-2999", "10000+"]
