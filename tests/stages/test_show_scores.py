"""`ptft show` of results: one with its weak sides, several side by side with paired differences to the first."""

from __future__ import annotations

import json

import pytest
from scores_making import labelled, read, scored

from ptft.core.files import write_json
from ptft.core.metrics.comparison import compare
from ptft.stages.eval.slices import scores_by
from ptft.stages.show.run import described


def rows_of(table):
    return {row[0]: row[1:] for row in table.rows}


def data(name="test.jsonl", content="h1"):
    return {"data": [{"name": name, "hash": content}], "model": {"name": "m", "run": "r"}}


@pytest.fixture
def three(tmp_path):
    """The first, a better one on the same rows, and one over other rows."""
    other = [{**row, "id": f"other{row['id']}", "input": "other"} for row in labelled("aabbaabb")]
    return [
        scored(tmp_path / "a", labelled("aabbbbbb"), **data()), scored(tmp_path / "b", labelled("aabbaaba"), **data()),
        scored(tmp_path / "c", other, **data(content="h2")),
    ]  # fmt: skip


def test_one_result(tmp_path):
    folder = scored(tmp_path / "a", labelled("aabbbbbb"), **data(), overlap={"warning": "2 of 8 rows (25.0%) share"})
    tables, facts = described([folder])
    about, metrics = rows_of(tables[-2]), rows_of(tables[-1])
    assert (
        about["model"] == ("m (r)",)
        and about["data"] == ("test.jsonl",)
        and about["overlap with training data"][0].startswith("2 of 8")
    )
    low, high = read(folder)["metrics"]["accuracy"]["ci95"]
    assert metrics["accuracy"] == ("0.75", f"{low:.4g} - {high:.4g}")
    assert facts["kind"] == "scores" and facts["scores"] == read(folder)


def test_the_worst_slices_come_first(tmp_path):
    rows = labelled("aabbbbba", f="xxyyxxyy", g="zzzzzzzz")
    folder = scored(tmp_path / "a", rows)
    from ptft.core.metrics.kinds import measures

    scores = {**read(folder), "slices": scores_by(measures("labels", rows, ("accuracy", "f1")), rows, ("f", "g"), 50)}
    write_json(folder / "scores.json", scores)
    tables, _ = described([folder])
    worst = next(table for table in tables if table.title == "worst slices by accuracy")
    assert [row[:3] for row in worst.rows] == [("f = x", "4", "0.5"), ("f = y", "4", "0.75")]  # g is all rows


def test_the_comparison_that_a_run_wrote(tmp_path):
    here, there = labelled("aabbaaba"), labelled("aabbbbbb")
    found = compare(here, there, "labels", ("accuracy", "f1"), None, 100).as_json("before", "r0")
    tables, _ = described([scored(tmp_path / "a", here, comparison=found)])
    assert (
        tables[-1].title == "compared with before on 8 rows; by accuracy 2 rows gained, 1 lost (McNemar's test: p = 1)"
    )
    assert rows_of(tables[-1])["accuracy"][:3] == ("0.875", "0.75", "0.125")


def test_several_are_compared_with_the_first(three):
    tables, facts = described(three)
    rows = rows_of(tables[0])
    assert tables[0].columns == ("", *map(str, three))
    assert (
        rows["predictions"] == ("labels",) * 3
        and rows["rows"] == ("8",) * 3
        and rows["same data as the first"] == ("-", "yes", "no")
    )
    expected = compare(labelled("aabbaaba"), labelled("aabbbbbb"), "labels", ("accuracy", "f1")).metrics["accuracy"]
    assert rows["accuracy, difference"] == ("-", f"+0.125 (p {expected.p:.3g})", "-")
    assert rows["rows compared"] == ("-", "8", "not aligned")
    assert [cell.endswith(" *") for cell in rows["accuracy"]] == [False, False, True]
    assert "no row in common" in rows_of(tables[1])[str(three[2])][0]
    assert facts[1]["comparison_with_first"]["metrics"]["accuracy"]["p"] == expected.p
    assert "no row in common" in facts[2]["not_compared"] and facts[0]["scores"] == read(three[0])
    json.dumps(facts)


def test_lower_is_better_where_it_is(tmp_path):
    folders = [
        scored(tmp_path / name, [{"id": "1", "nll": nll, "tokens": 2, "bytes": 5}], "language", ("perplexity",))
        for name, nll in (("a", 3.0), ("b", 2.0))
    ]
    rows = rows_of(described(folders)[0][0])
    assert rows["perplexity"][1].endswith(" *") and not rows["perplexity"][0].endswith(" *")
    assert rows["perplexity, difference"][1].startswith("-1.76")  # e - e^1.5
    assert rows["same data as the first"] == ("-", "-")  # they do not say it


def test_slices_that_all_have(tmp_path):
    from ptft.core.metrics.kinds import measures

    folders = []
    for name, predicted, by in (("a", "aabbbbbb", "xxxxyyzz"), ("b", "aabbaabb", "xxxxyyyy")):
        rows = labelled(predicted, f=by)
        sliced = scores_by(measures("labels", rows, ("accuracy",)), rows, ("f",), 0)
        folders.append(scored(tmp_path / name, rows, metrics=("accuracy",), slices=sliced))
    tables, _ = described(folders)
    assert tables[-1].title == "by f" and tables[-1].rows == (
        ("x", "accuracy", "1", "1"),
        ("y", "accuracy", "0", "1"),
    )


def test_a_metric_that_one_lacks_has_no_best(tmp_path):
    folders = [
        scored(tmp_path / "a", labelled("aabbbbbb")), scored(tmp_path / "b", labelled("aabbaabb")),
        scored(tmp_path / "c", labelled("aabbbbbb"), metrics=("accuracy", "mcc")),
    ]  # fmt: skip
    rows = rows_of(described(folders)[0][0])
    assert rows["f1"][2] == "-" and not any(cell.endswith(" *") for cell in rows["f1"])
    assert [cell.endswith(" *") for cell in rows["accuracy"]] == [False, True, False]


def test_results_beside_other_folders_are_shown_as_before(three, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/corpus.jsonl").write_text('{"text": "a"}\n')
    (table,), facts = described([three[0], tmp_path / "corpus"])
    assert rows_of(table)["stage"] == ("scores", "corpus") and [one["kind"] for one in facts] == ["scores", "corpus"]
