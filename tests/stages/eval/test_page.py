"""The HTML page: nothing from data is markup, nothing is fetched, its size is bounded, and a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import evaluated
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptft.stages.eval.page import boxes, calibration, compared, differences, figures, markup, plots
from ptft.stages.eval.page.document import Facts, html
from ptft.stages.eval.page.markdown import markdown
from ptft.stages.eval.page.style import STYLE
from ptft.stages.eval.page.terminal import tables
from ptft.stages.eval.page.worst import worst

EVIL = '</td></table><script>alert("1")</script><img src=x onerror=alert(1)>\'"&amp;|`\ud800\x00'
VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Elements, attributes and text; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}


@pytest.mark.parametrize("kind", evaluated.EVERY)
def test_every_kind_has_a_page_that_nests_and_needs_nothing_else(kind: str) -> None:
    scores, rows = evaluated.EVERY[kind]()
    page = html(scores, rows)
    read = Reader(page)
    assert {"metrics", "worst", "settings", "reproduce"} <= read.ids()
    assert {tag for tag, _ in read.elements}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not re.search(r"https?:|url\(|@import|src=", page)
    assert all(name in read.text for name in scores["metrics"])
    assert html(*evaluated.EVERY[kind]()) == page


def test_every_section_is_there() -> None:
    scores, rows = evaluated.labels()
    read = Reader(html(scores, rows, Facts(command=("ptft", "eval", "a b"), versions={"torch": "2.13"})))
    wanted = {
        "metrics",
        "comparison",
        "classes",
        "confusion",
        "calibration",
        "slices",
        "worst",
        "overlap",
        "settings",
        "reproduce",
    }
    assert wanted <= read.ids()
    linked = {attributes["href"] for tag, attributes in read.elements if tag == "a"}
    assert linked == {f"#{ident}" for ident in wanted}
    assert "ptft eval: tiny on test.jsonl" in html(scores, rows)
    for said in (
        "ptft eval 'a b'",
        "torch",
        "3 of 60 rows (5.0%)",
        "2 rows could not be measured",
        "McNemar",
        "gained",
        "only one label occurs",
    ):
        assert said in read.text, said
    assert all(attributes.get("aria-label") for tag, attributes in read.elements if tag == "svg")
    assert all(attributes.get("scope") for tag, attributes in read.elements if tag == "th")


def hostile(value: Any, kept: tuple[str, ...] = ("kind",)) -> Any:
    """The same JSON with markup in every text, and in the keys that are labels, fields or values of data."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: item if key in kept else hostile(item) for key, item in value.items()}
    for field in ("per_class", "per_type", "slices", "probabilities", "by"):
        if isinstance(found.get(field), dict):
            found[field] = {key + EVIL: item for key, item in found[field].items()}
    return found


@pytest.mark.parametrize("kind", [*evaluated.EVERY, "plain-tags", "unheard of"])
def test_rows_that_lack_everything_do_not_break_the_page(kind: str) -> None:
    rows = [
        {"id": "1"},
        {"id": 2, "input": None, "reference": None, "prediction": None, "probabilities": None, "loglikelihoods": None},
    ]
    bare = {"metrics": {"f1": {"score": 0.5}}, "kind": kind, "n": 2}
    for scores in (
        {},
        bare,
        evaluated.scores_of(kind, {"f1": 0.5}, [], slices={}, overlap={}, comparison={}, figures={}),
    ):
        Reader(html(scores, rows))
        assert markdown(scores, rows) and isinstance(tables(scores), list)


def test_an_overlap_without_a_sentence_is_said_in_ours() -> None:
    said = figures.overlap_sentence({"n": 9, "overlap": {"rows": 3, "checked_rows": 60}})
    assert said == "3 of 60 rows share text with the training data (5.0%)"
    assert figures.overlap_sentence({"n": 9, "overlap": {"rows": 0, "checked_bytes": 5}}) == ""


@pytest.mark.parametrize("kind", evaluated.EVERY)
def test_whatever_comes_from_data_stays_text(kind: str) -> None:
    scores, rows = (hostile(part) for part in evaluated.EVERY[kind]())
    page = html(scores, rows, Facts(title=EVIL, command=("ptft", EVIL), versions={EVIL: EVIL}))
    read = Reader(page)
    assert {tag for tag, _ in read.elements}.isdisjoint({"script", "img"})
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert '<script>alert("1")</script>' in read.text
    assert page.encode() and "\x00" not in page  # no lone surrogate is left


def test_a_page_of_many_rows_is_small() -> None:
    labels = [f"label {place}" for place in range(60)]
    text = "许多字 and many words. " * 20_000
    rows = [
        {
            "id": f"{place}" * 50,
            "input": text,
            "reference": labels[place % 60],
            "prediction": labels[place * 7 % 60],
            "loss": place % 97,
        }
        for place in range(100_000)
    ]
    per_class = {f"{place} {text}": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 9} for place in range(500)}
    values = {f"{place}": {"n": 1, "metrics": {"f1": {"score": 0.5, "ci95": [0.4, 0.6]}}} for place in range(500)}
    counts = [[1000 + a * b for a in range(60)] for b in range(60)]
    scores = evaluated.scores_of(
        "labels", {"f1": {"score": 0.5, "ci95": None, "per_class": per_class}}, rows, slices={"id": values},
        figures={"confusion": {"labels": labels, "counts": counts}},
    )  # fmt: skip
    page = html(scores, rows)
    assert len(page.encode()) < 1_000_000
    assert page.count("<article>") == 20
    assert html(scores, rows[:1000], Facts(worst=3)).count("<article>") == 3
    assert page.count('class="zero"') == 0 and page.count("<td style=") == 3600


def test_more_labels_than_can_be_read_have_no_matrix() -> None:
    figure = {"labels": [str(place) for place in range(61)], "counts": [[0] * 61] * 61}
    scores = evaluated.scores_of("labels", {"accuracy": 0.5}, [], figures={"confusion": figure})
    assert "61 labels are too many" in html(scores, [])


@pytest.mark.parametrize(
    ("score", "settings", "reason"),
    [
        ({"score": None, "ci95": None, "why": "one class only"}, {}, "one class only"),
        ({"score": float("nan"), "ci95": None}, {}, "it is not defined for these rows"),
        ({"score": 0.5, "ci95": None}, {"bootstrap": 0}, "no interval was asked for (bootstrap 0)"),
        ({"score": 0.5, "ci95": None}, {"bootstrap": 1000}, "under half of the resamples have a value"),
        ({"score": 0.5, "ci95": [0.4, 0.6]}, {}, ""),
    ],
)
def test_what_has_no_value_says_why(score: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    assert figures.why_missing(score, settings) == reason
    scores, rows = evaluated.numbers()
    page = html({**scores, "metrics": {"pearson": score}, "settings": settings}, rows)
    assert reason in page and "nan" not in page.lower().replace("nano", "")


def test_digits_follow_the_metric() -> None:
    assert [figures.shown(*pair) for pair in (("f1", 0.875), ("bleu", 34.3051), ("perplexity", 12345.678), ("mse", 0.000123456))] == [
        "0.8750", "34.31", "12,345.7", "0.0001235",
    ]  # fmt: skip
    assert figures.signed("f1", 0.01) == "+0.0100" and figures.signed("f1", -0.01) == "-0.0100"
    assert figures.p_text(0.0004) == "< 0.001" and figures.p_text(None) == "no value"
    assert figures.interval_text("mcc", {"ci95": [-0.2, 0.1]}) == "-0.2000 to 0.1000"
    assert [figures.better(name) for name in ("f1", "ter", "preference")] == ["higher", "lower", "-"]


@given(
    st.sampled_from(["f1", "bleu", "mcc", "r2", "perplexity", "ter"]),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4),
)
def test_an_axis_holds_its_values(metric: str, values: list[float]) -> None:
    low, high = figures.span(metric, *values)
    assert low < high and all(low <= value <= high * (1 + 1e-9) for value in values)


@given(st.floats(1e-12, 1e300))
def test_an_axis_ends_on_a_round_number(value: float) -> None:
    end = figures.rounded_up(value)
    assert value <= end * (1 + 1e-9) and end <= 2.5 * value * (1 + 1e-9)
    assert f"{end:.0e}"[0] in "125"


def test_a_plot_puts_the_point_where_it_is() -> None:
    drawn = str(plots.interval(0.25, (0.0, 0.5), (0.0, 1.0), "said", mark=1.0))
    width = plots.WIDE - 2 * plots.EDGE
    assert (
        f'cx="{plots.EDGE + width / 4}"' in drawn
        and f'x="{plots.EDGE}.0"' in drawn
        and f'width="{width / 2:.0f}.0"' in drawn
    )
    assert f'x1="{float(plots.WIDE - plots.EDGE)}"' in drawn and 'aria-label="said"' in drawn
    assert plots.interval(None, None, (0, 1), "nothing") == ""


def test_the_reliability_diagram_says_what_the_bins_say() -> None:
    scores, _ = evaluated.labels()
    bins = scores["figures"]["calibration"]["bins"]
    assert calibration.calibration_error(bins) == pytest.approx(
        0.5 / 15
    )  # each bin: accuracy half a bin under its confidence
    part = calibration.section_of(scores)
    assert part is not None and part.body.count('class="bar"') == part.body.count('class="confidence"') == len(bins)
    assert "(ECE) 0.1034" in part.body
    assert calibration.section_of({"figures": {"calibration": {"bins": []}}}) is None


# ---------------------------------------------------------------- the worst rows


@pytest.mark.parametrize(
    ("kind", "wanted", "said"),
    [
        ("labels", ["row-56", "row-49", "row-42"], "probability 0.873"),
        ("many-labels", ["b", "a"], "3 wrong labels"),
        ("numbers", ["2", "1"], "off by 2"),
        ("tags", ["zh"], "3 wrong tags"),
        ("spans", ["q1", "q2"], "token_f1 0.0000"),
        ("texts", ["t4", "t2", "t1"], "rougeL 0.0000"),
        ("answers", ["c1"], "chrf 30.10"),
        ("generations", ["g1"], "repetition 0.6000"),
        ("language", ["hard", "easy"], "6.011 bits per byte"),
        ("choices", ["m1", "m3"], "log-likelihood 7.00 above the right choice"),
        ("preferences", ["p1", "p2"], "log-likelihoods differ by 5.00"),
        ("rankings", ["r2", "r1"], "nothing relevant is listed"),
        ("boxes", ["i2"], "2 missed, 1 imagined"),
    ],
)
def test_the_worst_rows_of_a_kind(kind: str, wanted: list[str], said: str) -> None:
    found = worst(*evaluated.EVERY[kind](), 3)
    assert found is not None
    assert [row["id"] for row, _ in found.rows] == wanted
    assert found.rows[0][1] == said


def test_rows_without_what_ranks_them_come_in_order() -> None:
    rows = [{"id": str(place), "reference": "a", "prediction": "ab"[place % 2]} for place in range(6)]
    found = worst({"kind": "labels"}, rows, 2)
    assert found is not None and [row["id"] for row, _ in found.rows] == ["1", "3"] and found.faulty == 3
    assert worst({"kind": "labels"}, [], 2) is None
    assert worst({"kind": "something else"}, rows, 2) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30), st.integers(0, 10))
def test_more_worst_rows_only_add_to_the_end(rows: list[tuple[float, bool]], count: int) -> None:
    made = [
        {"id": str(n), "reference": "a", "prediction": "a" if right else "b", "loss": loss}
        for n, (loss, right) in enumerate(rows)
    ]
    few, more = worst({"kind": "labels"}, made, count), worst({"kind": "labels"}, made, count + 1)
    if few is not None and more is not None:
        assert more.rows[: len(few.rows)] == few.rows
        assert all(row["reference"] != row["prediction"] for row, _ in more.rows)


def test_a_text_that_is_one_of_its_references_is_right() -> None:
    rows = [
        {"id": "1", "reference": ["no", "yes"], "prediction": "yes"},
        {"id": "2", "reference": ["no"], "prediction": "yes"},
    ]
    found = worst({"kind": "texts"}, rows, 5)
    assert found is not None and [row["id"] for row, _ in found.rows] == ["2"]


@pytest.mark.parametrize(
    ("metric", "ends", "said"),
    [
        ("f1", [0.01, 0.09], "better"), ("ter", [1.0, 9.0], "worse"), ("preference", [0.01, 0.09], "different"),
        ("f1", [-0.01, 0.09], "not told apart"), ("f1", None, "not told apart"),
    ],
)  # fmt: skip
def test_a_difference_is_told_where_its_interval_leaves_zero(metric: str, ends: list[float] | None, said: str) -> None:
    assert compared.verdict(metric, {"difference": 0.05, "ci95": ends}) == said
    assert compared.verdict(metric, {"difference": None, "ci95": ends}) == ""


def test_boxes_overlap_by_intersection_over_union() -> None:
    assert boxes.overlap([0, 0, 10, 10], [5, 0, 10, 10]) == pytest.approx(50 / 150)
    assert boxes.overlap([0, 0, 10, 10], [20, 0, 10, 10]) == 0


# ---------------------------------------------------------------- differences


@given(st.text("ab 猫狗。\n", max_size=40), st.text("ab 猫狗。\n", max_size=40))
def test_pieces_are_the_texts_and_what_is_not_marked_is_in_both(reference: str, prediction: str) -> None:
    wanted, made = differences.differing(reference, prediction)
    assert "".join(piece.text for piece in wanted) == reference
    assert "".join(piece.text for piece in made) == prediction
    both = ["".join(piece.text for piece in side if not piece.marked) for side in (wanted, made)]
    assert both[0] == both[1]


def test_chinese_differs_by_characters_and_english_by_words() -> None:
    wanted, made = differences.differing("那只猫坐着", "那只狗坐着")
    assert [piece.text for piece in wanted if piece.marked] == ["猫"] and [
        piece.text for piece in made if piece.marked
    ] == ["狗"]
    wanted, made = differences.differing("the cat sat", "the car sat")
    assert [piece.text for piece in wanted if piece.marked] == ["cat"] and [
        piece.text for piece in made if piece.marked
    ] == ["car"]


def test_the_closest_reference_is_compared() -> None:
    assert differences.closest(["no way", "它很好 indeed"], "很好") == "它很好 indeed"


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans())), st.integers(0, 20))
def test_pieces_are_divided_where_asked(parts: list[tuple[str, bool]], most: int) -> None:
    pieces = [differences.Piece(*part) for part in parts]
    first, rest = differences.divided(pieces, most)
    texts = ["".join(piece.text for piece in side) for side in (first, rest, pieces)]
    assert texts[0] + texts[1] == texts[2] and len(texts[0]) == min(most, len(texts[2]))


def test_long_texts_are_behind_more_and_end() -> None:
    page = html(*evaluated.texts())
    assert "more (14,680 characters)" in page and "12,000 more characters are in predictions.jsonl" in page


# ---------------------------------------------------------------- what is seen


def test_texts_have_their_language_and_direction() -> None:
    texts = {"plain": "", "漢字": "zh", "かな漢字": "ja", "한국어": "ko"}
    assert {text: markup.language(text) for text in texts} == texts
    assert str(markup.data("李雷")) == '<span lang="zh" dir="auto">李雷</span>'


def luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2, 1.4.3."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[scheme]
    digits = dict(re.findall(r"--(\w+): #(\w{3,6});", block))
    colours = {
        name: tuple(int((code * 2 if len(code) == 3 else code)[place : place + 2], 16) / 255 for place in (0, 2, 4))
        for name, code in digits.items()
    }
    shades = re.findall(r"--(?:right|wrong): (\d+) (\d+) (\d+)", block)
    for shade in shades:  # of the confusion matrix, at its darkest
        mixed = tuple(
            0.55 * int(part) / 255 + 0.45 * paper for part, paper in zip(shade, colours["paper"], strict=True)
        )
        assert contrast(colours["ink"], mixed) >= 4.5
    assert len(shades) == 2
    for ground in ("paper", "faint", "add", "gone", "warn"):
        assert contrast(colours["ink"], colours[ground]) >= 7
    for ink in ("soft", "blue", "orange"):
        assert contrast(colours[ink], colours["paper"]) >= 4.5


CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"))
    ),
    None,
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
def test_a_browser_opens_the_page(tmp_path: Path) -> None:
    """Headless Chromium lays it out without a word on its console, and has every section and text in its DOM."""
    scores, rows = evaluated.labels()
    page = tmp_path / "report.html"
    page.write_text(html(scores, hostile(rows)), encoding="utf-8")
    shot = tmp_path / "page.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
        "--window-size=1000,1400", f"--screenshot={shot}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    dom, said = done.stdout.decode(), done.stderr.decode(errors="replace")
    assert "CONSOLE" not in said
    read = Reader(dom)
    assert {"metrics", "comparison", "confusion", "calibration", "slices", "worst"} <= read.ids()
    assert "第49场比赛" in read.text and "<script>" in read.text
    assert {tag for tag, _ in read.elements}.isdisjoint({"script", "img"})
    assert shot.read_bytes()[:4] == b"\x89PNG"


def test_choices_stand_beside_their_likelihoods() -> None:
    scores, rows = evaluated.EVERY["choices"]()
    plain = html(scores, rows)
    assert "-9.00; -2.00; the right choice" in plain and "None" not in plain
    named = html(scores, [{**row, "choices": ["sport", "tech"]} for row in rows])
    assert "sport: -9.00; tech: -2.00; the right choice" in named
