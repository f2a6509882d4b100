"""ROUGE against the perl values in rouge_score's own tests, and against rouge_score itself on random texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.metrics.kinds import Options
from ptft.core.metrics.rouge import lcs, lcs_places, sentences
from ptft.core.metrics.text import rouge, text_measures

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
CHINESE = ["今天天气很好，我们去公园散步吧。", "机器学习模型从文本中学习。"]

# rouge_score 0.1.2: testdata/target.txt, prediction.txt, and pyrouge_files/{target,prediction}_multi.0.txt (its repository)
TARGETS = [
    "ZfbCUIUuePaiLVUlCaUXxkpu XPeWing tUHfPMuZ',-Xd Y BrUgVJing M-HV.-DgdDaY.rFDJCRing Ht-LM EKBDXkME,yz'RBr q'wtion "
    "wIojNbN wL,b .a-'XdQggyFl jB-RPP'iyOIcUxer tKM L",
    "KsJdPByEtAor fE-Qg Dpdbring cw-WeFyu vC MoBL Xdn g wkvcEiGvKtion BDFhrpMtion psing sbKao Q m qiing LMmer "
    "HqqLFXe,XPY,J XsurkMer ,ed nB'wH'bWVHjWFEing tQ.saefZwJtKrTlixYpMMsJing UCAPwNHeYVjDing c T BUySKtion gMPfJpwGw "
    "p'NvxAoping eu pBwMBKV'I DNxqelhu,PHPxDEq,mtion SN",
]
PREDICTIONS = [
    "rFDJCRtion Ht-LM EKtDXkME,yz'RBr q'wer wrojNbN wL,b .a-'XdQggyFl jB-RPP'iyOIcUxi",
    "n cw-WeFyu vC MoBL Xdn g wkvcEiGvKtion BDFhrpMer pstion sbKao Q m qier LMmed HqqLFXe,XPY,J XsurkMeo ,ed "
    "nB'wH'bWVHjWFEer tQ.saefZwJtKrTlixYpMMNJtion UCAPwNHeYVjD",
]
MORE_TARGETS = [
    "NhETebUbBk'er WOvoHMTjSRizKgH'vHiing Xu,hWxfs VkNE QhgKiLHE -HidivzoM.dO anhtion jbLQiSGDTCsuhREebUaKM dv J dVN tmbOT",
    "vMR HDm,xOAetion D,tion HJtodT.mHl UIv-p VjWH'BdyWjnfGU-OjT aEMdFICyLWfQMtion wEMfdOKing AwkeKbO 'DxqNOHBH qKtVvm "
    "OYJl mM",
]
MORE_PREDICTIONS = [
    "xfs VkJE QhgKiLHE -HidivzoM.dO anhing jbLQiSGDTCsuhREebUaKM dv J",
    "VjWH'BdyWjnfGU-OjTNaEMdFICyLWfQMing wEMfdOKijg AwkeKbO 'DxqNO",
]


@pytest.mark.parametrize(
    ("row", "name", "stemmer", "expected"),
    [(0, "rouge1", False, 0.51163), (1, "rouge1", False, 0.50000), (0, "rouge1", True, 0.51163),
     (1, "rouge1", True, 0.52941), (0, "rouge2", False, 0.39024), (1, "rouge2", False, 0.36364),
     (0, "rouge2", True, 0.39024), (1, "rouge2", True, 0.36364), (0, "rougeL", False, 0.51163),
     (1, "rougeL", False, 0.50000)],
)  # fmt: skip
def test_rouge_of_perl_rouge(row: int, name: str, stemmer: bool, expected: float) -> None:
    """ROUGE 1.5.5's values in rouge_scorer_test.py, test...AgainstRouge155."""
    found = rouge([PREDICTIONS[row]], [TARGETS[row]], (name,), stemmer=stemmer, resamples=0)[name]["score"]
    assert round(found, 5) == expected


def test_rouge_of_lines_of_perl_rouge() -> None:
    """testRougeLSumAgainstRouge155WithStemming."""
    prediction, target = "\n".join(PREDICTIONS + MORE_PREDICTIONS), "\n".join(TARGETS + MORE_TARGETS)
    found = rouge([f"{prediction}\n"], [f"{target}\n"], ("rougeLsum",), stemmer=True, resamples=0)["rougeLsum"]["score"]
    assert round(found, 5) == 0.47205


@pytest.mark.parametrize(
    ("prediction", "targets", "expected"),
    [("testing", ["testing one two"], {"rouge1": 1 / 2}), ("testing one", ["testing one two"], {"rouge2": 2 / 3}),
     ("text first", ["first text", "first something"], {"rouge1": 1, "rouge2": 0, "rougeL": 0.5}),
     ("", ["testing one two"], dict.fromkeys(ROUGES, 0)), ("testing one", ["testing one two"], {"rougeL": 4 / 5}),
     ("testing two", ["testing one two"], {"rougeL": 4 / 5}),
     ("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", ["w1 w2 w3 w4 w5"], {"rougeLsum": 2 * 0.4 * 0.8 / 1.2}),
     ("w1", [""], {"rougeLsum": 0}), ("/", ["w1 w2 w3 w4 w5"], {"rougeLsum": 0}),
     ("Second sentence.\nFirst Sentence.", ["First sentence.\nSecond Sentence."], {"rougeLsum": 1})],
)  # fmt: skip
def test_rouge_of_rouge_scores_own_tests(prediction: str, targets: list[str], expected: dict[str, float]) -> None:
    """rouge_score 0.1.2, rouge_scorer_test.py."""
    found = rouge([prediction], [targets], list(expected), resamples=0)
    assert {name: value["score"] for name, value in found.items()} == pytest.approx(expected)


def test_sentences_are_split_where_there_are_no_lines() -> None:
    """testRougeLSumSentenceSplitting: 0.5 as one sentence, 1.0 split."""
    texts = ["Second sentence. First Sentence."], ["First sentence. Second Sentence."]
    assert rouge(*texts, ("rougeLsum",), split=False, resamples=0)["rougeLsum"]["score"] == pytest.approx(0.5)
    assert rouge(*texts, ("rougeLsum",), resamples=0)["rougeLsum"]["score"] == 1.0
    zh = rouge(["我们去散步吧。今天天气好！"], ["今天天气好！我们去散步吧。"], ("rougeLsum",), resamples=0)
    assert zh["rougeLsum"]["score"] == 1.0 and zh["rougeLsum"]["sentences"] == "lines, else by full stops"


@pytest.mark.parametrize(
    ("text", "latin", "expected"),
    [("One. Two! Three?", True, ["One.", "Two!", "Three?"]), ("Mr. Smith left. He did.", True, ["Mr. Smith left.", "He did."]),
     ('He said "no." She left.', True, ['He said "no."', "She left."]), ("It costs 3.5 now", True, ["It costs 3.5 now"]),
     ("One. Two.\nThree. Four.", True, ["One. Two.", "Three. Four."]), ("", True, [""]),
     ("你好！“他说。”再见……完；好", False, ["你好！", "“他说。”", "再见……", "完；", "好"])],
)  # fmt: skip
def test_sentences(text: str, latin: bool, expected: list[str]) -> None:
    assert sentences(text, latin) == expected


texts = st.lists(st.sampled_from(["a", "b", "c", "d", "e's", "f-g", "running", "runs.", "\n"]), max_size=14).map(
    " ".join
)


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.booleans())
def test_every_score_is_rouge_scores(prediction: str, target: str, stemmer: bool) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(list(ROUGES), use_stemmer=stemmer).score(target, prediction)
    ours = rouge([prediction], [target], ROUGES, stemmer=stemmer, split=False, resamples=0)
    assert {name: ours[name]["score"] for name in ROUGES} == {name: theirs[name].fmeasure for name in ROUGES}


lists = st.lists(st.integers(0, 5), max_size=24)


@settings(max_examples=400, deadline=None)
@given(lists, lists)
def test_common_subsequences_are_rouge_scores(first: list[int], second: list[int]) -> None:
    from rouge_score.rouge_scorer import lcs_ind

    assert lcs_places(first, second) == lcs_ind(first, second)
    assert lcs(first, second) == len(lcs_places(first, second))


def test_identical_chinese_texts_are_perfect() -> None:
    assert all(score["score"] == 1.0 for score in rouge(CHINESE, CHINESE, ROUGES, resamples=0).values())


def test_chinese_is_by_character() -> None:
    assert rouge(["天气很好"], ["天气好"], ("rouge1",), resamples=0)["rouge1"]["score"] == pytest.approx(6 / 7)


def test_russian_is_not_zero_either() -> None:
    assert rouge(["мама мыла раму"], ["мама мыла раму"], ("rouge1",))["rouge1"]["score"] == 1.0


def test_a_row_is_tokenized_as_it_is_written_whatever_the_others_are() -> None:
    """Chinese rows among English ones: rouge_score's tokenizer would give them 0."""
    alone = rouge(["天气很好"], ["天气好"], ("rouge2",), resamples=0)["rouge2"]["score"]
    among = text_measures(["天气很好", *["a dog"] * 30], [["天气好"], *[["a dog"]] * 30], ["rouge2"], Options())[0]
    assert among.own is not None and among.own[0] == alone > 0
