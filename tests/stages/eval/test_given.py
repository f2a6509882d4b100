"""Predictions of other tools: which kind they are taken for, and what is wrong with a row."""

from __future__ import annotations

from typing import Any

import pytest

from ptft.core.errors import InputError, UsageError
from ptft.core.metrics.kinds import KINDS
from ptft.core.rows import Rejected, Row
from ptft.stages.eval.given import Given, joined, kind_of, reference_of
from ptft.stages.eval.rules import RULES


def rows(*data: dict[str, Any], file: str = "p.jsonl") -> list[Row]:
    return [Row({"id": f"{file}:{line}", **row}, file, line) for line, row in enumerate(data, 1)]


def kind(*data: dict[str, Any], metrics: tuple[str, ...] = (), named: str = "auto") -> str:
    return kind_of(iter(rows(*data)), metrics, named, None)


# ---------------------------------------------------------------- which kind


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prediction": 1, "reference": 0}, "labels"),
        ({"prediction": "sport", "reference": "sport"}, "labels"),
        ({"reference": "a", "probabilities": {"a": 0.5, "b": 0.5}}, "labels"),
        ({"prediction": 1.5, "reference": 2.0}, "numbers"),
        ({"prediction": 1.5, "reference": 2}, "numbers"),
        ({"prediction": ["a"], "reference": ["a", "b"]}, "many-labels"),
        ({"prediction": ["B-X", "O"], "reference": ["O", "O"]}, "tags"),
        ({"prediction": ["a", "b", "c"], "reference": "b"}, "rankings"),
        ({"prediction": "a long answer\nof two lines", "reference": "another one\n, too"}, "texts"),
        ({"prediction": "some text", "reference": ["one", "two"]}, "texts"),
        ({"prediction": "some text alone"}, "generations"),
        ({"nll": 3.0, "tokens": 2, "bytes": 7}, "language"),
        ({"nll": 3.0, "tokens": 2, "bytes": 7, "prediction": "a b", "reference": "a c"}, "answers"),
        ({"answer": 0, "loglikelihoods": [-1.0, -2.0], "lengths": [3, 4]}, "choices"),
        ({"loglikelihoods": [-1.0, -2.0]}, "preferences"),
        (
            {"prediction": [{"label": "cat", "box": [0, 0, 1, 1], "score": 0.5}], "reference": [{"label": "cat", "box": [0, 0, 1, 1]}]},
            "boxes",
        ),
    ],
)  # fmt: skip
def test_the_kind_follows_from_the_rows(row: dict[str, Any], found: str) -> None:
    assert kind(row, row) == found


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prediction": "a", "reference": "a", "probabilities": {"a": 0.9, "b": 1.0}}, "labels"),
        ({"prediction": ["B-X"], "reference": ["B-X", "O"]}, "tags"),
        ({"answer": 5, "loglikelihoods": [-1.0, -2.0], "lengths": [3, 4]}, "choices"),
        ({"prediction": [{"label": "cat", "box": [0, 0, -1, 1], "score": 1}], "reference": []}, "boxes"),
    ],
)
def test_rows_that_are_all_wrong_keep_the_kind_that_their_fields_tell(row: dict[str, Any], found: str) -> None:
    assert RULES[found](row) and kind(row, row) == found


def test_an_empty_reference_makes_no_generation_of_a_row() -> None:
    with pytest.raises(InputError, match=r"as .*an empty reference"):
        kind({"prediction": "some text", "reference": " "})


def test_what_cannot_be_read_is_told_by_its_first_row() -> None:
    bad = Rejected("p.jsonl", 3, "not JSON", "x")
    with pytest.raises(InputError, match=r"p.jsonl:3: none of the first rows can be read: not JSON"):
        kind_of(iter([bad]), (), "auto", None)


def test_short_texts_that_hardly_repeat_are_no_labels() -> None:
    assert kind(*({"prediction": f"word {i}", "reference": f"word {i}"} for i in range(9))) == "texts"


def test_metrics_decide_between_kinds() -> None:
    row = {"prediction": "sport", "reference": "sport"}
    assert kind(row, row, metrics=("bleu",)) == "texts"
    assert kind(row, row, metrics=("exact_match",)) == "spans"
    assert kind(row, row, named="texts") == "texts"
    with pytest.raises(UsageError, match="no kind of predictions has bleu, mse together"):
        kind(row, metrics=("bleu", "mse"))
    with pytest.raises(UsageError, match="no kind 'label' of predictions"):
        kind(row, named="label")


def test_rows_of_no_kind_name_their_fields_and_what_is_taken() -> None:
    with pytest.raises(InputError, match=r"'output', 'gold' are of no kind") as caught:
        kind({"output": "a", "gold": "b"})
    assert "columns.prediction" in caught.value.remedy


# ---------------------------------------------------------------- what is wrong with a row

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("labels", {"reference": "a"}, "no field 'prediction'"),
    ("labels", {"reference": "a", "prediction": None}, "empty (null)"),
    ("labels", {"reference": " ", "prediction": "a"}, "an empty reference"),
    ("labels", {"reference": "a", "prediction": ["a"]}, "is a list, not a label"),
    ("labels", {"reference": "a", "prediction": "a", "probabilities": {"a": None}}, "is None, not a number"),
    ("labels", {"reference": "a", "prediction": "a", "probabilities": {"a": float("nan")}}, "is nan, not a number"),
    ("labels", {"reference": "a", "prediction": "a", "probabilities": {"a": 1.2, "b": -0.2}}, "is 1.2, not between"),
    ("labels", {"reference": "a", "prediction": "a", "probabilities": {"a": 0.2, "b": 0.2}}, "sum to 0.4"),
    ("labels", {"reference": "a", "prediction": "a", "probabilities": [0.5, 0.5]}, "is not an object"),
    ("numbers", {"reference": 1, "prediction": "much"}, "'much' is not a number"),
    ("numbers", {"reference": float("inf"), "prediction": 1}, "inf is not a number"),
    ("tags", {"reference": ["O", "O"], "prediction": ["O"]}, "1 predicted tags for 2 words"),
    ("tags", {"reference": ["cat"], "prediction": ["dog"]}, "of no scheme"),
    ("texts", {"reference": [], "prediction": "a"}, "no list of texts"),
    ("texts", {"reference": ["a", ""], "prediction": "a"}, "an empty reference"),
    ("texts", {"reference": "a", "prediction": {"text": "a"}}, "is an object, not a text"),
    ("generations", {"prediction": 3}, "not a text"),
    ("language", {"nll": float("nan"), "tokens": 1, "bytes": 1}, "'nll' is no number"),
    ("choices", {"answer": 2, "loglikelihoods": [-1, -2], "lengths": [1, 1]}, "none of the 2 choices"),
    ("choices", {"answer": 0, "loglikelihoods": [-1], "lengths": [1, 1]}, "1 loglikelihoods and 2 lengths"),
    ("choices", {"answer": 0, "loglikelihoods": [], "lengths": []}, "is empty"),
    ("preferences", {"loglikelihoods": [-1, -2, -3]}, "not two"),
    ("rankings", {"reference": [], "prediction": ["a"]}, "no list of texts"),
    ("boxes", {"reference": [], "prediction": [{"label": "cat", "box": [1, 2, 3, 4]}]}, "without a score"),
    ("boxes", {"reference": [{"label": "cat"}], "prediction": []}, "without a box"),
    ("boxes", {"reference": [{"label": "cat", "box": [0, 0, 1, -1]}], "prediction": []}, "without a box"),
    (
        "boxes",
        {"reference": [{"label": "cat", "box": [0, 0, 1, 1], "iscrowd": "x"}], "prediction": []},
        "neither 0 nor 1",
    ),
    ("numbers", {"reference": 1, "prediction": 1e200}, "beyond what can be squared"),
]


@pytest.mark.parametrize(("name", "row", "reason"), WRONG)
def test_what_is_wrong_is_said(name: str, row: dict[str, Any], reason: str) -> None:
    assert reason in (RULES[name](row) or "")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("labels", {"reference": 0, "prediction": "0"}),  # labels are compared as text
        ("labels", {"reference": "unseen", "prediction": "a", "probabilities": {"a": 1.0}}),
        ("spans", {"reference": [], "prediction": ""}),  # a question without an answer
        ("texts", {"reference": "a", "prediction": ""}),  # an empty answer is an answer
        ("many-labels", {"reference": [], "prediction": []}),
        ("boxes", {"reference": [], "prediction": []}),
    ],
)
def test_what_is_odd_but_right_is_taken(name: str, row: dict[str, Any]) -> None:
    assert RULES[name](row) is None


def test_every_kind_has_its_rule() -> None:
    assert set(RULES) == set(KINDS)


def test_an_id_that_repeats_is_the_second_rows_mistake() -> None:
    way = Given("labels")
    first, second = (Row({"id": "7", "prediction": "a", "reference": "a"}, "p.jsonl", line) for line in (1, 2))
    assert way.problem(first) is None and way.problem(first) is None  # read twice
    assert way.problem(second) == "the id '7' is already that of p.jsonl:1"


def test_a_metric_may_need_more_of_a_row() -> None:
    row = rows({"reference": "a", "prediction": "a"})[0]
    assert "'probabilities', which the metrics" in (Given("labels", ("auroc",)).problem(row) or "")
    likely = rows({"reference": "a", "nll": 1.0, "tokens": 1, "bytes": 1})[0]
    assert Given("answers", ("perplexity",)).problem(likely) is None
    assert "'prediction', which the metrics" in (Given("answers", ("bleu",)).problem(likely) or "")


def test_probabilities_alone_predict_the_likeliest() -> None:
    (row,) = Given("labels").predict(rows({"reference": "a", "probabilities": {"a": 0.3, "b": 0.7}}))
    assert row["prediction"] == "b"


# ---------------------------------------------------------------- references from another file


def test_references_are_joined_by_id_in_any_order() -> None:
    made = rows({"id": "1", "prediction": "a"}, {"id": "2", "prediction": "b"})
    wanted = rows({"id": "2", "text": "two", "label": "y"}, {"id": "1", "text": "one", "label": "x"}, file="r.jsonl")
    found = [row.data for row in joined(made, wanted)]
    assert [(row["id"], row["prediction"], row["reference"], row["input"]) for row in found] == [
        ("1", "a", "x", "one"), ("2", "b", "y", "two"),
    ]  # fmt: skip


def test_without_ids_the_order_counts_and_lengths_must_be_equal() -> None:
    made = rows({"prediction": "a"}, {"prediction": "b"})
    wanted = rows({"source": "s", "target": "x"}, {"source": "t", "target": "y"}, file="r.jsonl")
    assert [row.data["reference"] for row in joined(made, wanted)] == ["x", "y"]
    with pytest.raises(InputError, match="2 predictions and 1 references, without ids"):
        list(joined(made, wanted[:1]))


def test_a_file_of_which_some_rows_have_ids_is_not_joined_by_place() -> None:
    made = [*rows({"prediction": "a"}), *rows({"id": "2", "prediction": "b"}, {"id": "3", "prediction": "c"})]
    wanted = rows(*({"id": str(i), "reference": "x"} for i in (3, 2, 1)), file="r.jsonl")
    with pytest.raises(InputError, match="not all predictions have an id"):
        list(joined(made, wanted))
    with pytest.raises(InputError, match="not all references have an id"):
        list(joined(made[1:], rows({"reference": "x"}, {"reference": "y"}, file="r.jsonl")))


def test_a_reference_of_its_own_that_differs_is_an_error() -> None:
    made = rows({"id": "1", "prediction": "a", "reference": "x"})
    assert list(joined(made, rows({"id": "1", "reference": "x"}, file="r.jsonl")))
    with pytest.raises(InputError, match="'1' has another reference of its own"):
        list(joined(made, rows({"id": "1", "reference": "y"}, file="r.jsonl")))


def test_labels_that_have_nothing_in_common_are_remarked_on() -> None:
    way = Given("labels")
    assert way.remarks([{"reference": 1, "prediction": "1"}]) == []
    (said,) = way.remarks([{"reference": "a", "prediction": "A"}])
    assert said == "no predicted label ('A') is one of the references' ('a')"


def test_predictions_that_are_missing_are_named() -> None:
    made = rows({"id": "1", "prediction": "a"}, {"id": "3", "prediction": "a"})
    wanted = rows({"id": "1", "reference": "x"}, {"id": "2", "reference": "x"}, file="r.jsonl")
    with pytest.raises(InputError, match=r"1 references have no prediction \('2'\); 1 predictions have no reference"):
        list(joined(made, wanted))
    with pytest.raises(InputError, match="ids repeat among the references"):
        list(joined(made, [*wanted, wanted[0]]))


@pytest.mark.parametrize(
    ("row", "reference"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "a"),
        ({"instruction": "q", "output": "a"}, "a"),
        ({"tokens": ["x"], "tags": ["O"]}, ["O"]),
        ({"question": "q", "context": "c is d", "answers": {"text": ["d"], "answer_start": [5]}}, ["d"]),
        ({"text": "q", "labels": ["a", "b"]}, ["a", "b"]),
        ({"nothing": 1}, None),
    ],
)
def test_a_reference_is_found_in_every_shape(row: dict[str, Any], reference: Any) -> None:
    assert reference_of(rows(row)[0]) == reference
