"""Language: the script first, then lid.176."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.language import LANGUAGES, UNKNOWN, identify, language

SENTENCES = [
    ("en", "The committee will meet again on Thursday to discuss the budget."),
    ("zh", "今天下午我们去公园散步，看到了很多花。"),
    ("zh", "今天下午我們去公園散步，看到了很多花。"),
    ("zh", "佢哋尋日去咗邊度食飯呀？我哋都唔知。"),
    ("zh", "在 Python 中，用 pip install numpy 安装 NumPy 库，然后 import numpy as np 即可使用 ndarray。"),
    ("zh", "Kubernetes 的 Pod 是最小的调度单元，一个 Deployment 管理多个 ReplicaSet，kubectl apply -f 应用配置。"),
    ("ja", "東京都は日本の首都であり、人口が最も多い都市です。"),
    ("ko", "오늘은 날씨가 좋아서 공원에 갔습니다."),
    ("fr", "Le comité se réunira de nouveau jeudi pour discuter du budget."),
    ("de", "Der Ausschuss trifft sich am Donnerstag wieder, um über den Haushalt zu sprechen."),
    ("es", "El comité se reunirá de nuevo el jueves para hablar del presupuesto."),
    ("it", "Il comitato si riunirà di nuovo giovedì per discutere del bilancio."),
    ("pt", "O comité vai reunir-se novamente na quinta-feira para discutir o orçamento."),
    ("nl", "De commissie komt donderdag opnieuw bijeen om de begroting te bespreken."),
    ("ru", "Комитет снова соберётся в четверг, чтобы обсудить бюджет."),
    ("uk", "Комітет знову збереться у четвер, щоб обговорити бюджет."),
    ("bg", "Комитетът ще се събере отново в четвъртък, за да обсъди бюджета."),
    ("ar", "ستجتمع اللجنة مرة أخرى يوم الخميس لمناقشة الميزانية."),
    ("fa", "کمیته روز پنجشنبه دوباره برای بررسی بودجه تشکیل جلسه می‌دهد."),
    ("hi", "समिति बजट पर चर्चा करने के लिए गुरुवार को फिर बैठक करेगी।"),
    ("tr", "Komite bütçeyi görüşmek üzere perşembe günü yeniden toplanacak."),
    ("vi", "Ủy ban sẽ họp lại vào thứ Năm để thảo luận về ngân sách."),
    ("pl", "Komitet spotka się ponownie w czwartek, aby omówić budżet."),
    ("el", "Η επιτροπή θα συνεδριάσει ξανά την Πέμπτη."),
    ("he", "הוועדה תתכנס שוב ביום חמישי כדי לדון בתקציב."),
    ("th", "คณะกรรมการจะประชุมอีกครั้งในวันพฤหัสบดี"),
    ("ta", "குழு வியாழக்கிழமை மீண்டும் கூடும்."),
    ("en", "The word 的 is the most frequent in Chinese."),
    ("en", "THE COMMITTEE WILL MEET AGAIN ON THURSDAY."),
]  # fmt: skip


@pytest.mark.parametrize(("lang", "text"), SENTENCES)
def test_identify(lang: str, text: str) -> None:
    names, scores = identify([text, text * 40])
    assert names == [lang, lang]
    assert scores.dtype == np.float32 and scores.min() > 0.4


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("en", "Hello"),
        ("en", "OK"),
        ("en", "What is AI?"),
        ("zh", "好"),
        ("ja", "はい"),
        ("und", "123 🙂"),
        ("und", ""),
    ],
)
def test_short_texts(lang: str, text: str) -> None:
    assert identify([text])[0] == [lang]


def test_latin_letters_do_not_count_against_chinese() -> None:
    chinese = "容器编排系统可以自动部署和扩展应用，并管理它们的网络。"
    plain, mixed = identify([chinese, f"Kubernetes, Docker Swarm: {chinese} (Pod, Deployment)"])[1]
    assert mixed > 0.9 * plain > 0.8


def test_every_label_of_the_model_is_a_language() -> None:
    from ptft.core.language import _CHINESE, _model

    labels = {label.removeprefix("__label__") for label in _model().predict("a", k=-1, threshold=-1)[0]}
    assert {_CHINESE.get(label, label) for label in labels} == {*LANGUAGES} - {UNKNOWN}
    assert len(LANGUAGES) == len(set(LANGUAGES)) <= 256


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_has_a_language(text: str) -> None:
    names, scores = identify([text])
    assert names[0] in LANGUAGES and 0 <= scores[0] <= 1
    assert identify([text, "x"])[0][0] == names[0]
    assert language(text) in LANGUAGES
    if not any(char.isalpha() for char in text):
        assert (names[0] == UNKNOWN) == (language(text) == UNKNOWN)


def test_no_texts() -> None:
    names, scores = identify([])
    assert names == [] and scores.shape == (0,)
