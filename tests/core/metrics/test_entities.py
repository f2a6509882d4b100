"""Entity scores equal seqeval's own, F1 over tags scikit-learn's, and intervals resample rows."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import seqeval.metrics
import seqeval.scheme
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from ptft.core.metrics.entities import entities_of, tag_measures, tagging
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


iobes_of = st.sampled_from(IOBES)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.tuples(iobes_of, iobes_of), min_size=1, max_size=8), min_size=1, max_size=6))
def test_iobes_entities_are_seqevals_too(pairs: list[list[tuple[str, str]]]) -> None:
    references, predictions = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    found = tagging(references, predictions, ENTITIES, "IOBES", resamples=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, theirs in SEQEVAL.items():
            wanted = theirs(references, predictions, mode="strict", scheme=seqeval.scheme.IOBES, zero_division=0)
            assert found[name]["score"] == pytest.approx(wanted)


def test_tags_that_are_all_outside_and_tags_that_are_plain() -> None:
    found = tagging([["O", "O"]], [["O", "O"]], ENTITIES, "plain", resamples=5)
    assert found["entity_f1"]["score"] == 0 and found["token_accuracy"]["score"] == 1
    assert all(math.isnan(score["score"]) for score in tagging([], [], ENTITIES, "plain").values())
    with pytest.raises(ValueError, match="'NOUN'"):
        tagging([["O", "NOUN"]], [["O", "O"]], ("entity_f1",), "plain")


def test_a_row_has_its_own_score() -> None:
    rows = [["B-X", "O"], ["B-X", "O"], ["O", "O"]]
    f1, accuracy = tag_measures(rows, [["B-X", "O"], ["O", "B-X"], ["O", "O"]], ("entity_f1", "token_accuracy"), "IOB2")
    assert f1.own is not None and f1.own[:2].tolist() == [1, 0] and math.isnan(f1.own[2])
    assert accuracy.own is not None and accuracy.own.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="shorter"):
        tag_measures([["O", "O"]], [["O"]], ("token_accuracy",), "plain")


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


# ---------------------------------------------------------------- conlleval

PERL = {  # what conlleval.pl (seqeval's tests/conlleval.pl) printed, in percent: type, precision, recall, FB1
    "ADJP": (0.0, 0.0, 0.0), "ADVP": (45.45, 62.50, 52.63), "NP": (64.98, 78.63, 71.16), "PP": (83.18, 98.89, 90.36),
    "SBAR": (66.67, 33.33, 44.44), "VP": (69.00, 79.31, 73.80),
}  # fmt: skip


def test_conllevals_own_example() -> None:
    """CoNLL-2000's output example, also seqeval's ground_truth.txt: 961 tokens, 459 phrases.

    conlleval lets a lone "I-" begin a phrase, which `mended` writes as "B-", as the stages do before they score.
    """
    lines = (Path(__file__).parent / "conll2000_tags.txt").read_text(encoding="utf-8").splitlines()[1:]
    pairs = [[(tag.split("/")[0], tag.split("/")[-1]) for tag in line.split()] for line in lines]
    raw = [[[pair[side] for pair in row] for row in pairs] for side in (0, 1)]
    found = tagging(*([mended(row)[0] for row in rows] for rows in raw), ENTITIES, "IOB2", resamples=0)
    assert _percent(found) == [74.35, 68.83, 80.83]
    assert found["entity_f1"]["entities"] == 459
    for name, shares in PERL.items():
        own = found["entity_f1"]["per_type"][name]
        assert tuple(round(100 * own[key], 2) for key in ("precision", "recall", "f1")) == shares
    accuracy = tagging(*raw, ("token_accuracy",), "IOB2", resamples=0)["token_accuracy"]
    assert round(100 * accuracy["score"], 2) == 84.08 and accuracy["tokens"] == 961


def test_conlleval_on_chinese_and_english() -> None:
    """conlleval.pl was run on these rows and printed 76.00; 44.44, 57.14, 50.00; LOC 40.00, MISC 0, ORG 80.00, PER 40.00."""
    references = [
        ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC", "I-LOC", "O", "O"],
        ["O", "O", "B-LOC", "I-LOC", "O", "B-LOC", "O", "B-PER", "I-PER"],
        ["B-ORG", "O", "B-ORG", "I-ORG", "I-ORG", "I-ORG", "O"],
    ]
    predictions = [
        ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O", "O", "O", "O"],
        ["O", "O", "I-LOC", "I-LOC", "O", "B-ORG", "O", "B-PER", "B-PER"],
        ["B-ORG", "O", "B-ORG", "I-ORG", "I-ORG", "I-ORG", "B-MISC"],
    ]
    found = tagging(references, [mended(row)[0] for row in predictions], ENTITIES, "IOB2", resamples=0)
    assert _percent(found) == [50.0, 44.44, 57.14]
    types = {name: round(100 * own["f1"], 2) for name, own in found["entity_f1"]["per_type"].items()}
    assert types == {"LOC": 40.0, "MISC": 0.0, "ORG": 80.0, "PER": 40.0}
    accuracy = tagging(references, predictions, ("token_accuracy",), "IOB2", resamples=0)["token_accuracy"]["score"]
    assert accuracy == pytest.approx(0.76)


def _percent(found: dict[str, dict[str, Any]]) -> list[float]:
    return [round(100 * found[name]["score"], 2) for name in ("entity_f1", "entity_precision", "entity_recall")]
