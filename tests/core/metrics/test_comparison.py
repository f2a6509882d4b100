"""Two runs over the same rows: alignment, the paired bootstrap, McNemar's test, and the rows that changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptft.core.errors import InputError, UsageError
from ptft.core.metrics.comparison import Comparison, align, compare, differences, in_common, mcnemar, p_value
from ptft.core.metrics.measure import of_mean, of_sums, ratio


def labels(predictions, references=None, ids=None):
    references = references or ["a"] * len(predictions)
    ids = ids or [f"r{number}" for number in range(len(predictions))]
    return [
        {"id": ident, "input": f"text {ident}", "reference": reference, "prediction": prediction}
        for ident, reference, prediction in zip(ids, references, predictions, strict=True)
    ]


def right(flags):
    return labels(["a" if flag else "b" for flag in flags])


def of_counts(both, gained, lost, neither):
    """Two runs: rows right in both, in the first alone, in the second alone, in none."""
    here = [1] * both + [1] * gained + [0] * lost + [0] * neither
    there = [1] * both + [0] * gained + [1] * lost + [0] * neither
    return right(here), right(there)


# ---------------------------------------------------------------- tests of significance


def test_paired_says_008_where_unpaired_says_08():
    """lm-evaluation-harness issue 3831 and its pull request 3868: 220 rows, unpaired z-test p = .080, McNemar's p = .008."""
    here, there = of_counts(both=184, gained=15, lost=3, neither=18)
    found = compare(here, there, "labels", ["accuracy"])
    scores = found.metrics["accuracy"]
    variance = sum(share * (1 - share) / 220 for share in (scores.score, scores.other))
    unpaired = math.erfc(scores.difference / math.sqrt(variance) / math.sqrt(2))
    assert round(unpaired, 3) == 0.080
    assert found.mcnemar is not None and round(found.mcnemar.p, 3) == 0.008 and found.mcnemar.test == "exact"
    assert scores.p is not None and scores.p < 0.02 and scores.ci95 is not None and scores.ci95[0] > 0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_scipys(gained, lost):
    found = mcnemar(gained, lost)
    if gained + lost < 25:
        expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    else:
        expected = stats.chi2.sf(max(abs(gained - lost) - 1, 0) ** 2 / (gained + lost), 1)
    assert found.p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_statsmodels_own_test():
    """statsmodels/stats/tests/test_nonparametric.py: [[101, 121], [59, 33]] with correction, 20.67222 and 5.450095e-06."""
    found = mcnemar(121, 59)
    assert (found.test, found.statistic) == ("chi-square", pytest.approx(20.67222, abs=1e-5))
    assert found.p == pytest.approx(5.450095e-06, rel=1e-6)


def test_bootstrap_agrees_with_the_normal_theory_of_a_paired_mean():
    random = np.random.default_rng(3)
    own, other = random.normal(0.1, 1, 2000), random.normal(0, 1, 2000)
    found = differences([of_mean("m", own)], [of_mean("m", other)], 2000)["m"]
    theory = stats.ttest_rel(own, other)
    low, high = theory.confidence_interval()
    assert found.p == pytest.approx(theory.pvalue, abs=0.01)
    assert found.ci95 == pytest.approx([low, high], abs=0.01)


def test_p_is_sacrebleus():
    """The same estimate as sacrebleu 2.6's PairedTest("bs") on BLEU, whose resamples are others: within chance."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    random = np.random.default_rng(5)
    words = [f"w{number}" for number in range(16)]
    references = [" ".join(random.choice(words, 12)) for _ in range(120)]

    def worse(chance):
        noisy = ([word if random.random() > chance else "x" for word in text.split()] for text in references)
        return [" ".join(line) for line in noisy]

    systems = worse(0.2), worse(0.21)
    tested = PairedTest([("a", systems[0]), ("b", systems[1])], {"BLEU": BLEU()}, [references], "bs", 1000)()[1]
    metric = BLEU()
    sums = [np.array(metric._extract_corpus_statistics(system, [references]), float) for system in systems]

    def bleu(totals):
        return np.array([metric._compute_score_from_stats(list(line)).score for line in totals])

    found = differences(*([of_sums("bleu", one, bleu)] for one in sums), 1000)["bleu"]
    assert found.score == pytest.approx(tested["BLEU"][0].score) and found.other == pytest.approx(
        tested["BLEU"][1].score
    )
    assert 0.02 < tested["BLEU"][1].p_value < 0.5
    assert found.p == pytest.approx(tested["BLEU"][1].p_value, abs=0.05)


def test_equal_runs_differ_by_nothing():
    here, _ = of_counts(10, 0, 0, 5)
    found = compare(here, here, "labels", ["accuracy", "f1"])
    assert {(one.difference, one.p) for one in found.metrics.values()} == {(0.0, 1.0)}
    assert found.metrics["f1"].ci95 == [0.0, 0.0] and found.mcnemar is not None and found.mcnemar.p == 1.0
    assert found.flips is not None and not found.flips.changed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_turned_around_everything_turns_its_sign(flags):
    here, there = right([one for one, _ in flags]), right([other for _, other in flags])
    one, other = (compare(*runs, "labels", ["accuracy"], None, 100) for runs in ((here, there), (there, here)))
    mine, theirs = one.metrics["accuracy"], other.metrics["accuracy"]
    assert mine.difference == pytest.approx(-theirs.difference) and mine.p == theirs.p
    assert mine.ci95 == pytest.approx([-value for value in reversed(theirs.ci95)])
    assert (one.flips.gained, one.flips.lost) == (other.flips.lost, other.flips.gained)
    assert one.mcnemar.p == other.mcnemar.p


def test_no_resamples_no_p():
    here, there = of_counts(5, 2, 1, 3)
    found = compare(here, there, "labels", ["accuracy"], None, 0).metrics["accuracy"]
    assert (found.difference, found.ci95, found.p) == (pytest.approx(1 / 11), None, None)


def test_p_needs_values():
    assert p_value(np.array([np.nan, np.nan, 0.1]), 0.1) is None
    assert p_value(np.array([0.0, 0.2]), float("nan")) is None
    assert p_value(np.linspace(-1, 1, 99), 10.0) == pytest.approx(0.01)


def test_where_chance_holds_p_is_small_as_often_as_it_says():
    """Of runs that differ by chance alone, a twentieth has p < .05."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        own, other = random.random((2, 60)) < 0.7
        pair = [of_mean("m", side.astype(float)) for side in (own, other)]
        found.append(differences([pair[0]], [pair[1]], 200)["m"].p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


# ---------------------------------------------------------------- alignment


def test_rows_are_aligned_by_id_not_by_order():
    here = labels(["a", "b", "a"], ids=["1", "2", "3"])
    there = labels(["b", "a", "b"], ids=["3", "4", "2"])
    found = compare(here, there, "labels", ["accuracy"])
    assert (found.n, found.only_here, found.only_there) == (2, ("1",), ("4",))
    assert found.metrics["accuracy"].score == 0.5 and found.metrics["accuracy"].other == 0.0
    assert [said for said in found.warnings if "'1'" in said] and [said for said in found.warnings if "'4'" in said]


def test_ids_that_repeat_are_named():
    with pytest.raises(InputError, match=r"ids of the other run repeat \(1: 'x'\)"):
        compare(labels(["a"], ids=["x"]), labels(["a", "b"], ids=["x", "x"]), "labels", ["accuracy"])


def test_other_questions_are_an_error():
    here, there = labels(["a", "b"], ["a", "b"]), labels(["a", "b"], ["a", "c"])
    with pytest.raises(InputError, match="1 of 2 rows have another reference in the other run, for example 'r1'"):
        compare(here, there, "labels", ["accuracy"])
    texts = [{"id": "1", "input": text, "nll": 3.0, "tokens": 2, "bytes": 4} for text in ("one", "two")]
    with pytest.raises(InputError, match="another input"):
        compare(texts[:1], texts[1:], "language", ["perplexity"])


def test_another_prompt_is_a_warning():
    here, there = labels(["a", "b"]), labels(["a", "b"])
    there[1]["input"] = "Q: text r1"
    assert "1 of 2 rows have another input" in compare(here, there, "labels", ["accuracy"]).warnings[0]


def test_rows_without_ids_are_aligned_by_order_where_they_ask_the_same():
    here = labels(["a", "b"], ["a", "b"], ["mine.jsonl:1", "mine.jsonl:2"])
    there = labels(["b", "b"], ["a", "b"], ["theirs.jsonl:1", "theirs.jsonl:2"])
    for row in there:
        row["input"] = here[there.index(row)]["input"]
    assert (pairs := align(here, there)).by == "order" and pairs.there[1]["prediction"] == "b"
    there[1]["reference"] = "c"
    with pytest.raises(InputError, match=r"no row in common: ids here are 'mine\.jsonl:1'"):
        align(here, there)


def test_metrics_in_common():
    assert in_common(("f1", "accuracy"), ("accuracy", "mcc"), "labels") == ("accuracy",)
    with pytest.raises(UsageError, match="no metric is in both") as raised:
        in_common(("f1",), ("bleu",), "labels")
    assert "--metrics bleu" in raised.value.remedy


# ---------------------------------------------------------------- what changed


def test_flips_name_the_rows_with_both_predictions():
    here, there = of_counts(3, 2, 1, 1)
    flips = compare(here, there, "labels", ["f1"]).flips  # accuracy, though it was not asked for
    assert flips is not None and (flips.metric, flips.gained, flips.lost) == ("accuracy", 2, 1)
    lines = list(flips.lines())
    assert [(line["id"], line["change"]) for line in lines] == [("r3", "gained"), ("r4", "gained"), ("r5", "lost")]
    assert lines[2] == {
        "id": "r5", "change": "lost", "input": "text r5", "reference": "a", "prediction": "b", "other": "a", "score": 0.0,
        "other_score": 1.0,
    }  # fmt: skip


def test_examples_are_of_both_sides_and_short():
    here, there = of_counts(0, 50, 3, 0)
    here[0]["input"] = there[0]["input"] = "long " * 1000
    examples = compare(here, there, "labels", ["accuracy"]).flips.as_json(10)["examples"]
    assert [line["change"] for line in examples] == ["lost"] * 3 + ["gained"] * 7
    assert len(examples[3]["input"]) < 600


def test_texts_by_the_largest_change_and_lower_is_better():
    nll = {"here": (1.0, 5.0, 2.0), "there": (1.0, 2.0, 3.0)}
    runs = [
        [
            {"id": str(number), "input": "t", "nll": value, "tokens": 1, "bytes": 1}
            for number, value in enumerate(values)
        ]
        for values in nll.values()
    ]
    found = compare(*runs, "language", ["perplexity"], None, 50)
    assert found.mcnemar is None and found.flips.gained == 1 and found.flips.lost == 1
    assert [line["id"] for line in found.flips.lines()] == ["1", "2"]
    assert [line["change"] for line in found.flips.lines()] == ["lost", "gained"]


def test_scores_kept_in_the_rows_are_not_made_again():
    """ROUGE of 100,000 rows is costly; where every row has its own, their mean is the score."""
    runs = [
        [{"id": "1", "reference": "a b", "prediction": "a", "rouge1": value}, {"id": "2", "reference": "c", "prediction": "c", "rouge1": 1.0}]
        for value in (0.25, 0.75)
    ]  # fmt: skip
    found = compare(*runs, "texts", ["rouge1"], None, 50).metrics["rouge1"]
    assert (found.score, found.other) == (0.625, 0.875)


def test_as_json_is_the_contract():
    import orjson

    here, there = of_counts(3, 2, 1, 1)
    found: Comparison = compare(here, there, "labels", ["accuracy", "f1"])
    json = orjson.loads(orjson.dumps(found.as_json("other", "r1")))
    assert json["with"] == {"name": "other", "run": "r1"} and (json["n"], json["only_here"], json["only_there"]) == (
        7,
        0,
        0,
    )
    assert set(json["metrics"]["f1"]) == {"score", "other", "difference", "ci95", "p"}
    assert json["mcnemar"]["gained"] == json["flips"]["gained"] == 2 and len(json["flips"]["examples"]) == 3


def test_a_ratio_of_sums_is_compared_as_one():
    sums = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [1.0, 4.0]])]
    pair = [of_sums("share", one, lambda totals: ratio(totals[:, 0], totals[:, 1])) for one in sums]
    found = differences([pair[0]], [pair[1]], 20)["share"]
    assert found.difference == pytest.approx(4 / 6 - 2 / 6)
