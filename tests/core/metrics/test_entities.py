"""Entity scores equal seqeval's own, F1 over tags scikit-learn's, and intervals resample rows."""

from __future__ import annotations

import warnings

import pytest
import seqeval.metrics
import seqeval.scheme
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from ptft.core.metrics.entities import entities_of, tagging
from ptft.core.metrics.names import ENTITIES
from ptft.core.tagging import fits, mended, scheme_of

IOB2 = ["O", "B-PER", "I-PER", "B-地名", "I-地名"]
IOBES = [*IOB2, "E-PER", "S-PER", "E-地名"]
rows_of = st.sampled_from(IOB2)
PAIRS = st.lists(st.lists(st.tuples(rows_of, rows_of), min_size=1, max_size=8), min_size=1, max_size=6)
SEQEVAL = {
    "entity_f1": seqeval.metrics.f1_score,
    "entity_precision": seqeval.metrics.precision_score,
    "entity_recall": seqeval.metrics.recall_score,
}


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_entities_are_seqevals_in_strict_mode(pairs: list[list[tuple[str, str]]]) -> None:
    references, predictions = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    found = tagging(references, predictions, (*ENTITIES, "f1"), "IOB2", resamples=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, theirs in SEQEVAL.items():
            wanted = theirs(references, predictions, mode="strict", scheme=seqeval.scheme.IOB2, zero_division=0)
            assert found[name]["score"] == pytest.approx(wanted)
    flat = [[tag for row in rows for tag in row] for rows in (references, predictions)]
    assert found["f1"]["score"] == pytest.approx(f1_score(*flat, average="macro", zero_division=0))
    assert found["token_accuracy"]["score"] == pytest.approx(seqeval.metrics.accuracy_score(references, predictions))


def test_iobes_and_a_lone_inside_tag() -> None:
    assert entities_of([["B-PER", "E-PER", "S-PER", "I-PER"]], "IOBES") == [{("PER", 0, 2), ("PER", 2, 3)}]
    assert entities_of([["O", "I-PER", "I-PER"], ["B-PER", "I-地名", "O"]], "IOB2") == [set(), {("PER", 0, 1)}]


def test_intervals_hold_the_score_and_types_their_own() -> None:
    references = [["B-PER", "I-PER", "O"], ["B-地名", "O", "O"]] * 20
    predictions = [["B-PER", "I-PER", "O"], ["O", "B-地名", "O"], ["B-PER", "O", "O"], ["B-地名", "O", "O"]] * 10
    found = tagging(references, predictions, ENTITIES, "IOB2", resamples=200)
    for score in found.values():
        low, high = score["ci95"]
        assert low < score["score"] < high
    assert found["entity_f1"]["score"] == pytest.approx(0.5)
    assert found["entity_f1"]["per_type"]["地名"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 20}


def test_perfect_and_empty() -> None:
    rows = [["O", "B-PER"], ["O"]]
    assert all(s["score"] == 1 for s in tagging(rows, rows, (*ENTITIES, "f1"), "IOB2").values())
    none = [["O", "O"]]
    assert tagging(none, none, ENTITIES, "IOB2", resamples=10)["entity_f1"]["score"] == 0


# ---------------------------------------------------------------- schemes


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [(IOB2, "IOB2"), (IOBES, "IOBES"), (["NOUN", "O"], "plain"), (["O"], "plain"), (["B-", "O"], "plain"),
     (["I-X", "O"], "IOB2"), (["B-X", "NOUN"], "plain"), (["S-X", "O"], "IOBES")],
)  # fmt: skip
def test_the_scheme_follows_from_the_tags(tags: list[str], scheme: str) -> None:
    assert scheme_of(tags) == scheme


@settings(max_examples=150, deadline=None)
@given(st.lists(rows_of, max_size=10))
def test_mended_tags_hold_every_entity_and_stay_as_they_are(tags: list[str]) -> None:
    once, changed = mended(tags)
    assert mended(once) == (once, 0) and changed == sum(a != b for a, b in zip(tags, once, strict=True))
    inside = {(entity[1], entity[2]) for entity in entities_of([once], "IOB2")[0]}
    assert {place for begin, end in inside for place in range(begin, end)} == {
        place for place, tag in enumerate(tags) if tag != "O"
    }


def test_a_type_that_the_model_does_not_know_is_measured_a_scheme_not() -> None:
    assert fits("B-ORG", "IOB2", IOB2) and not fits("S-ORG", "IOB2", IOB2) and not fits("NOUN", "IOB2", IOB2)
    assert fits("NOUN", "plain", ["NOUN"]) and not fits("VERB", "plain", ["NOUN"])
