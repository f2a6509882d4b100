"""Results read back: rows and metrics as they were, clear errors for what is no result, and two results compared."""

from __future__ import annotations

import pytest
from scores_making import labelled, read, scored

from ptft.core import results
from ptft.core.errors import InputError, UsageError
from ptft.core.metrics.measure import scores


def test_metrics_made_again_from_the_rows_are_those_of_the_run(tmp_path):
    folder = scored(tmp_path / "a", labelled("aabbbbaa"), metrics=("f1", "accuracy", "mcc"))
    stored = results.load(folder)
    assert (stored.kind, stored.metrics, len(stored.rows)) == ("labels", ("f1", "accuracy", "mcc"), 8)
    again = scores(stored.measures(), 100)
    assert {name: (one["score"], one["ci95"]) for name, one in again.items()} == {
        name: (one["score"], one["ci95"]) for name, one in read(folder)["metrics"].items()
    }
    assert [one.name for one in stored.measures(("mcc",))] == ["mcc"]


def test_the_positive_label_of_the_run_is_kept(tmp_path):
    folder = scored(tmp_path / "a", labelled("aabbbbba"), settings={"positive": "a"})
    assert results.load(folder).measures(("recall_binary",))[0].score() == 0.5
    other = scored(tmp_path / "b", labelled("aabbbbba"))
    assert results.load(other).measures(("recall_binary",))[0].score() == 0.75  # of "b", the second label


def test_two_results(tmp_path):
    here, there = scored(tmp_path / "a", labelled("aabbaaba")), scored(tmp_path / "b", labelled("aabbbbbb"))
    found = results.comparison(results.load(here), results.load(there), 100)
    assert (found.n, found.metrics["accuracy"].difference) == (8, pytest.approx(1 / 8))
    assert (found.flips.gained, found.flips.lost) == (2, 1)


def test_metrics_that_one_lacks_are_left_out(tmp_path):
    here = results.load(scored(tmp_path / "a", labelled("aabbaaba"), metrics=("f1", "accuracy")))
    assert list(
        results.comparison(
            here, results.load(scored(tmp_path / "b", labelled("aabbbbbb"), metrics=("mcc", "accuracy"))), 20
        ).metrics
    ) == ["accuracy"]
    with pytest.raises(UsageError, match="no metric is in both") as raised:
        results.comparison(here, results.load(scored(tmp_path / "c", labelled("aabbbbbb"), metrics=("mcc",))))
    assert "--metrics mcc" in raised.value.remedy


def test_kinds_that_differ(tmp_path):
    here = results.load(scored(tmp_path / "a", labelled("aabbaaba")))
    rows = [{"id": "r1", "nll": 2.0, "tokens": 3, "bytes": 5}]
    there = results.load(scored(tmp_path / "b", rows, "language", ("perplexity",)))
    with pytest.raises(InputError, match="kind labels cannot be compared with those of the kind language"):
        results.comparison(here, there)


def test_what_needs_a_model_is_taken_from_the_rows(tmp_path):
    """BERTScore is compared by what each row has; where rows have none, it is left out."""
    stored = []
    for name, value in (("a", 0.75), ("b", 0.5)):
        rows = [{"id": str(number), "reference": "x y", "prediction": "x y", "bertscore": value} for number in range(3)]
        folder = scored(tmp_path / name, rows, "texts", ("exact_match",))
        stored.append(results.load(folder))
        stored[-1].scores["metrics"]["bertscore"] = {"score": value}
    assert results.comparison(*stored, 20).metrics["bertscore"].difference == 0.25
    del stored[0].rows[0]["bertscore"]
    assert list(results.comparison(*stored, 20).metrics) == ["exact_match"]


@pytest.mark.parametrize(("file", "content", "said"), [
    ("scores.json", None, "not a scores folder"), ("scores.json", "{", "not what `ptft eval` wrote"),
    ("scores.json", '{"metrics": 1}', "not what `ptft eval` wrote"), ("predictions.jsonl", None, "no such file"),
    ("predictions.jsonl", '{"id": "a"}\nnot json\n', "not what `ptft eval` wrote"), ("predictions.jsonl", '{"x": 1}\n', "not what"),
])  # fmt: skip
def test_what_is_no_result_is_named_with_the_remedy(tmp_path, file, content, said):
    folder = scored(tmp_path / "a", labelled("aabbaaba"))
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        results.load(folder)
    assert "not json" not in (content or "") or raised.value.where.endswith("predictions.jsonl:2")


def test_results_that_do_not_say_enough(tmp_path):
    folder = scored(tmp_path / "a", labelled("aabbaaba"))
    stored = results.load(folder)
    del stored.scores["kind"]
    with pytest.raises(InputError, match="does not say what kind"):
        results.comparison(stored, stored)
    again, other = results.load(folder), results.load(folder)
    del other.rows[3]["prediction"]
    with pytest.raises(InputError, match="a row lacks 'prediction'"):
        results.comparison(again, other)
