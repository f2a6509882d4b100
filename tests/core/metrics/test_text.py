"""BLEU, chrF and TER against the values in sacrebleu's own tests; what text decides about tokens."""

from __future__ import annotations

import bz2
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.metrics.edits import edits
from ptft.core.metrics.kinds import Options
from ptft.core.metrics.measure import resampled, scores
from ptft.core.metrics.text import bleu, chrf, ter, text_measures, writing
from ptft.core.metrics.writing import writings

CHINESE = ["今天天气很好，我们去公园散步吧。", "机器学习模型从文本中学习。"]
ENGLISH = ["The dog bit the man.", "It was not unexpected."]

# sacrebleu 2.6.0, test/test_bleu.py
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]
RAW: dict[str, Any] = {"tokenize": "none", "smooth_method": "floor", "effective_order": True}  # raw_corpus_bleu


def score(metric: Any, *args: Any, **given: Any) -> float:
    return float(metric(*args, resamples=0, **given)["score"])


# ---------------------------------------------------------------- BLEU


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 48.530827), ({"tokenize": "none"}, 49.1919566), ({"tokenize": "13a"}, 48.530827),
     ({"tokenize": "intl"}, 43.91623493), ({"smooth_method": "none"}, 48.530827)],
)  # fmt: skip
def test_bleu_of_sacrebleus_tests(given: dict[str, Any], expected: float) -> None:
    assert score(bleu, HYPOTHESES, REFERENCES, **given) == pytest.approx(expected, abs=5e-7 if expected > 49 else 1e-8)


@pytest.mark.parametrize(
    ("order", "expected"), [(1, "77.65"), (2, "60.50"), (3, "53.93"), (4, "48.53"), (5, "46.14"), (6, "43.28")]
)
def test_bleu_by_order_of_sacrebleus_tests(order: int, expected: str) -> None:
    assert f"{score(bleu, HYPOTHESES, REFERENCES, max_ngram_order=order):.2f}" == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "value", "expected"),
    [("this is a test", "this is a test", 0.01, 1.0), ("this is a fest", "this is a test", 0.01, 0.223606797749979),
     ("test", "a test", 0.01, 0.3678794411714425), ("a test", "a test", 0.01, 1.0),
     ("a little test", "a test", 0.01, 0.03218297948685433),
     ("am I am a character sequence", "I am a symbol string sequence a a", 0.0, 0.0),
     ("am I am a character sequence", "I am a symbol string sequence a a", None, 0.1555722182)],
)  # fmt: skip
def test_raw_bleu_of_sacrebleus_tests(prediction: str, reference: str, value: float | None, expected: float) -> None:
    found = score(bleu, [prediction], [reference], **RAW, smooth_value=value)
    assert found / 100 == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("method", "value", "lowercase", "tokenize", "expected"),
    [("exp", None, False, "13a", 8.493), ("none", None, False, "13a", 0.0), ("floor", None, False, "13a", 4.51688),
     ("floor", 0.1, False, "13a", 4.51688), ("floor", 0.5, False, "13a", 10.10), ("add-k", None, False, "13a", 14.882),
     ("add-k", 1, False, "13a", 14.882), ("add-k", 2, False, "13a", 21.389), ("exp", None, False, "none", 7.347),
     ("exp", None, False, "intl", 8.493), ("exp", None, False, "char", 40.8759), ("exp", None, True, "char", 42.0267)],
)  # fmt: skip
def test_sentence_bleu_of_sacrebleus_tests(
    method: str, value: float | None, lowercase: bool, tokenize: str, expected: float
) -> None:
    """sacrebleu 2.6.0, test/test_sentence_bleu.py, to its 1e-3."""
    written = "Producția de zahăr primă va fi exprimată în ceea ce privește zahărul alb;"
    wanted = "producţia de zahăr brut se exprimă în zahăr alb;"
    given = {"smooth_method": method, "smooth_value": value, "lowercase": lowercase, "tokenize": tokenize}
    assert score(bleu, [written], [wanted], effective_order=True, **given) == pytest.approx(expected, abs=1e-3)
    assert score(bleu, ["this is a cat"], ["okay thanks"], effective_order=True, **given) == 0.0 or tokenize == "char"


def test_bleu_of_empty_answers_is_zero() -> None:
    assert score(bleu, ["", "", ""], REFERENCES) == 0.0


def test_identical_chinese_texts_are_perfect() -> None:
    found = bleu(CHINESE, CHINESE)
    assert found["score"] == pytest.approx(100.0)
    assert "tok:zh" in found["signature"]


# ---------------------------------------------------------------- chrF

CZECH = [
    ("Co nás nejvíc trápí, protože lékaři si vybírají, kdo bude žít a kdo zemře.",
     "Nejvíce smutní jsme z toho, že musíme rozhodovat o tom, kdo bude žít a kdo zemře.", 39.14078509),
    ("Nebo prostě nemají vybavení, které by jim pomohlo, uvedli lékaři.",
     "A někdy nemáme ani potřebný materiál, abychom jim pomohli, popsali lékaři.", 31.22557079),
    ("Lapali po dechu, jejich životy skončily dřív, než skutečně začaly.",
     "Lapali po dechu a pak jejich život skončil - dřív, než skutečně mohl začít, připomněli.", 57.15704367),
]  # fmt: skip
RISK = (
    "risk assessment must be made of those who are qualified and expertise in the sector - these are the scientists .",
    "risk assessment has to be undertaken by those who are qualified and expert in that area - that is the scientists .",
)
NETANYAHU = "Das Verhältnis zwischen Obama und Netanyahu ist nicht gerade freundschaftlich."
WALL = "Niemand hat die Absicht, eine Mauer zu errichten"


@pytest.mark.parametrize(("prediction", "reference", "expected"), CZECH)
def test_sentence_chrf_of_sacrebleus_tests(prediction: str, reference: str, expected: float) -> None:
    """sacrebleu 2.6.0, test/test_chrf.py, to all its digits."""
    found = chrf([prediction], [reference], eps_smoothing=True, resamples=0)
    assert found["score"] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("predictions", "references", "given", "expected"),
    [
        (["abcdefg"], ["hijklmnop"], {"eps_smoothing": True}, 0.0), (["a"], ["b"], {"eps_smoothing": True}, 0.0),
        ([""], ["b"], {"eps_smoothing": True}, 0.0), ([""], ["reference"], {"eps_smoothing": True}, 0.0),
        (["aa"], ["ab"], {"eps_smoothing": True}, 8.3333), (["a", "b"], ["a", "c"], {"eps_smoothing": True}, 8.3333),
        (["a"], ["a"], {"eps_smoothing": True}, 16.6667), (["a b c"], ["a b c"], {"eps_smoothing": True}, 50.0),
        (["a b c"], ["abc"], {"eps_smoothing": True}, 50.0),
        ([f" {RISK[0]}"], [RISK[1]], {"eps_smoothing": True}, 63.361730),
        ([" Die    Beziehung zwischen  Obama und Netanjahu ist nicht gerade  freundlich. "], [NETANYAHU],
         {"eps_smoothing": True}, 64.1302698),
        ([WALL], [WALL], {"eps_smoothing": True}, 100.0),
        (["a"], ["a"], {}, 100.0), ([""], ["reference"], {}, 0.0), (["a b c"], ["a b c"], {}, 100.0),
        (["a b c"], ["abc"], {}, 100.0), ([""], ["c"], {}, 0.0), (["a", "b"], ["a", "c"], {}, 50.0),
        (["aa"], ["ab"], {}, 25.0),
        (["Die Beziehung zwischen Obama und Netanjahu ist nicht gerade freundlich."], [NETANYAHU],
         {"whitespace": True}, 67.3481606),
        ([RISK[0]], [RISK[1]], {"whitespace": True}, 65.2414427),
    ],
)  # fmt: skip
def test_chrf_of_sacrebleus_tests(
    predictions: list[str], references: list[str], given: dict[str, Any], expected: float
) -> None:
    assert score(chrf, predictions, references, beta=3, **given) == pytest.approx(expected, abs=1e-4)


# ---------------------------------------------------------------- TER

IMAGE = [  # WMT dev data of 2019
    ('wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen , damit das '
     "Bild ungefähr dieselbe Größe aufweist wie die andere Größe .",
     'wählen Sie " Bild neu berechnen , " um beim Ändern der Bildgröße Pixel hinzuzufügen oder zu entfernen , damit die '
     "Darstellung des Bildes in einer anderen Größe beibehalten wird ."),
    ("wenn Sie alle Aufgaben im aktuellen Dokument aktualisieren möchten , wählen Sie im Menü des Aufgabenbedienfelds "
     'die Option " Alle Aufgaben aktualisieren . "',) * 2,
    ('klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben Sie Werte für '
     '" Fehlerkorrektur-Level " und " Y / X-Verhältnis " ein .',
     'klicken Sie auf der Registerkarte " Optionen " auf die Schaltfläche " Benutzerdefiniert " und geben Sie für '
     '" Fehlerkorrektur-Level " und " Y / X-Verhältnis " niedrigere Werte ein .'),
    ("Sie können beispielsweise ein Dokument erstellen , das ein Auto über die Bühne enthält .",
     "Sie können beispielsweise ein Dokument erstellen , das ein Auto enthalt , das sich über die Bühne bewegt ."),
    ('wählen Sie im Dialogfeld " Neu aus Vorlage " eine Vorlage aus und klicken Sie auf " Neu . "',) * 2,
]  # fmt: skip


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [(["aaaa bbbb cccc dddd"], ["aaaa bbbb cccc dddd"], 0), (["dddd eeee ffff"], ["aaaa bbbb cccc"], 1), ([""], ["a"], 1),
     (["a"], [""], 1), ([""], [""], 0), (["d e f g h a b c"], ["a b c d e f g h"], 1 / 8),
     ([pair[0] for pair in IMAGE], [pair[1] for pair in IMAGE], 0.136)],
)  # fmt: skip
def test_ter_of_sacrebleus_tests(predictions: list[str], references: list[str], expected: float) -> None:
    """sacrebleu 2.6.0, test/test_ter.py, to its 1e-3."""
    assert score(ter, predictions, references) == pytest.approx(100 * expected, abs=1e-3)


word_lists = st.integers(2, 6).flatmap(lambda kinds: st.lists(st.integers(0, kinds).map(str), max_size=14))


@settings(max_examples=60, deadline=None)
@given(word_lists, word_lists)
def test_edits_are_those_of_sacrebleu(written: list[str], wanted: list[str]) -> None:
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    assert edits(written, wanted) == translation_edit_rate(written, wanted)[0]


@pytest.mark.parametrize(("written", "wanted", "seed"), [(38, 34, 0), (30, 62, 1), (64, 29, 2)])
def test_edits_of_long_texts_keep_to_sacrebleus_beam(written: int, wanted: int, seed: int) -> None:
    """Texts so far apart that the beam of 25 words matters."""
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    random = np.random.default_rng(seed)
    first, second = ([str(word) for word in random.integers(0, 40, count)] for count in (written, wanted))
    assert edits(first, second) == translation_edit_rate(first, second)[0]


def test_a_beam_hides_what_lies_far_off_the_diagonal_from_sacrebleu() -> None:
    """74: sacrebleu 2.6.0's translation_edit_rate, which takes seconds for it; without its beam it would be 56."""
    common = list("020333310303303210200003130133121132030120231223303133122030")
    written, wanted = [f"before{i}" for i in range(28)] + common, common + [f"after{i}" for i in range(28)]
    assert edits(written, wanted) == 74


def test_ter_of_chinese_japanese_and_korean_is_by_characters() -> None:
    assert ter(["今天天气好"], ["今天天气很好"])["score"] == pytest.approx(100 / 6)
    assert ter(["さくらがさいた"], ["さくらはさいた"])["score"] == pytest.approx(100 / 7)
    found = ter(["나는 집에 간다"], ["나는 집에 갔다"])
    assert found["score"] == pytest.approx(100 / 6) and found["unit"] == "characters"
    assert ter(["I go"], ["I went"])["unit"] == "words"


# ---------------------------------------------------------------- WMT17

# sacrebleu 2.6.0, test.sh: what mteval-v13a.pl (BLEU) and tercom (TER) said; the systems are in its test/*.pkl.bz2
WMT17 = {
    "C-3MA.4959": (22.67, 0.669), "FBK.4870": (26.33, 0.636), "KIT.4950": (26.08, 0.641), "LIUM-NMT.4900": (26.6, 0.633),
    "LMU-nmt-reranked.4934": (27.11, 0.618), "LMU-nmt-single.4893": (26.56, 0.626), "PROMT-Rule-based.4735": (16.61, 0.752),
    "RWTH-nmt-ensemble.4921": (26.02, 0.628), "SYSTRAN.4847": (26.71, 0.611), "TALP-UPC.4834": (21.24, 0.685),
    "online-A.0": (20.8, 0.690), "online-B.0": (26.65, 0.632), "online-F.0": (15.45, 0.756), "online-G.0": (18.16, 0.733),
    "uedin-nmt.4722": (28.3, 0.612), "xmu.4910": (26.69, 0.622),
}  # fmt: skip


@pytest.fixture(scope="module")
def wmt17() -> dict[str, list[str]]:
    folder = os.environ.get("PTFT_SACREBLEU")
    if not folder:
        pytest.skip(
            "PTFT_SACREBLEU names no folder: unpack sacrebleu's sdist (pip download --no-binary :all: --no-deps)"
        )
    with bz2.open(Path(folder) / "test" / "wmt17_en_de_systems.pkl.bz2") as packed:
        systems = dict(pickle.load(packed))
    systems["reference"] = systems["reference"][0]
    return {name.removeprefix("newstest2017.").removesuffix(".en-de"): rows for name, rows in systems.items()}


@pytest.mark.slow
@pytest.mark.parametrize("system", WMT17)
def test_bleu_of_wmt17(wmt17: dict[str, list[str]], system: str) -> None:
    found = score(bleu, wmt17[system], wmt17["reference"])
    print(system, round(found, 4))
    assert found == pytest.approx(WMT17[system][0], abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "expected", "plus"), [("C-3MA.4959", 51.9533, 49.1683), ("FBK.4870", 54.7152, 52.2330)]
)
def test_chrf_of_wmt17(wmt17: dict[str, list[str]], system: str, expected: float, plus: float) -> None:
    """chrF++.py's values in sacrebleu's test.sh, to all digits."""
    for order, value in ((0, expected), (2, plus)):
        found = score(chrf, wmt17[system], wmt17["reference"], eps_smoothing=True, word_order=order)
        assert found == pytest.approx(value, abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["xmu.4910"])
def test_ter_of_wmt17(wmt17: dict[str, list[str]], system: str) -> None:
    """Tercom's value, within the 0.01 that sacrebleu's test.sh allows."""
    found = score(ter, wmt17[system], wmt17["reference"])
    print(system, round(found, 4))
    assert found / 100 == pytest.approx(WMT17[system][1], abs=0.01)


# ---------------------------------------------------------------- rows and resamples

texts = st.lists(st.sampled_from(["the", "dog", "bit", "a", "man", "他", "来了"]), max_size=9).map(" ".join)
rows = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_a_resample_has_the_score_that_sacrebleu_gives_it(pairs: list[tuple[str, list[str]]]) -> None:
    """Scores from sums of counts are sacrebleu's scores of the drawn rows; each row's own is its sentence score."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    predictions, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(max(map(len, references)))]
    main = writing([text for row in references for text in row])
    tokenize = "zh" if main == "zh" else "13a"
    asian = {"normalized": True, "asian_support": True} if main == "zh" else {}
    theirs = [BLEU(tokenize=tokenize), CHRF(), TER(**asian)]
    ours = text_measures(predictions, references, ["bleu", "chrf", "ter"], Options())
    for measure, metric in zip(ours, theirs, strict=True):
        assert measure.score() == pytest.approx(metric.corpus_score(predictions, streams).score, abs=1e-9)
        alone = BLEU(tokenize=tokenize, effective_order=True) if measure.name == "bleu" else metric
        wanted = [alone.sentence_score(text, row).score for text, row in pairs]
        assert measure.own is not None and measure.own == pytest.approx(wanted, abs=1e-9)


def test_intervals_are_those_of_sacrebleus_own_bootstrap() -> None:
    """The same rows resampled: both intervals of a BLEU hold the middle 95 %, up to the random numbers."""
    from sacrebleu.metrics.bleu import BLEU

    random = np.random.default_rng(0)
    words = np.array(["the", "dog", "bit", "man", "had", "just", "bitten", "him", "first", "not"])
    references = [" ".join(random.choice(words, 12)) for _ in range(80)]
    predictions = [" ".join(word if random.random() < 0.8 else "no" for word in text.split()) for text in references]
    theirs = BLEU().corpus_score(predictions, [references], n_bootstrap=1000)
    low, high = bleu(predictions, references)["ci95"]
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.1)
    assert (low + high) / 2 == pytest.approx(theirs._mean, rel=0.02)


def test_rows_may_have_different_numbers_of_references() -> None:
    found = bleu(HYPOTHESES, [REFERENCES[0], REFERENCES[1][:1], [*REFERENCES[2], "He bit."]])
    assert found["signature"].startswith("nrefs:var|")
    assert bleu(HYPOTHESES, REFERENCES)["signature"].startswith("nrefs:2|")


def test_a_row_without_references_is_refused() -> None:
    with pytest.raises(InputError, match="1 rows have no reference, the first is row 2"):
        text_measures(["a", "b"], [["a"], []], ["bleu"], Options())
    with pytest.raises(InputError, match="1 predictions for 2 rows"):
        text_measures(["a"], [["a"], ["b"]], ["bleu"], Options())


def test_processes_change_no_score() -> None:
    predictions, references = ["a b c d"] * 600, [["a b d c"]] * 600
    alone, together = (text_measures(predictions, references, ["ter"], Options(workers=count))[0] for count in (1, 2))
    assert alone.score() == together.score() == pytest.approx(25.0)


def test_no_rows_have_no_score() -> None:
    found = scores(text_measures([], [], ["bleu", "chrf", "ter", "rouge1"], Options()))
    assert all(np.isnan(value["score"]) and value["ci95"] is None for value in found.values())


def test_measures_share_resamples() -> None:
    measures = text_measures(HYPOTHESES, REFERENCES, ["rougeL", "bleu"], Options())
    assert [measure.name for measure in measures] == ["rougeL", "bleu"]
    assert all(len(values) == 7 for values in resampled(measures, 7).values())


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain English, naïve café", "latin"), ("今天 is a nice day", "zh"), ("今日はいい天気ですね", "char"),
     ("오늘 날씨가 좋네요", "char"), ("мама мыла раму", "other"), ("", "latin"), ("3 + 4 = 7", "latin")],
)  # fmt: skip
def test_writing(text: str, expected: str) -> None:
    assert writing([text]) == expected


def test_mixed_rows_are_told() -> None:
    assert writings([[text] for text in ENGLISH * 5 + ["你好"]]).mixed == {}
    assert writings([["3 + 4"], *([text] for text in ENGLISH + CHINESE[:1])]).mixed == {"latin": 0.6667, "zh": 0.3333}
    found = scores(
        text_measures(ENGLISH + CHINESE, [[text] for text in ENGLISH + CHINESE], ["bleu", "rouge1"], Options())
    )
    assert found["bleu"]["mixed"] == {"latin": 0.5, "zh": 0.5}
    assert (
        "tok:zh" in found["bleu"]["signature"]
    )  # `13a` would take a Chinese sentence for a word, `zh` leaves English be
    assert found["rouge1"]["score"] == 1.0
    assert found["rouge1"]["tokenizer"].startswith("by row: rouge_score default (50.0%)")
