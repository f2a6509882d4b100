"""Calibration rows in the verification data: copies and long runs are refused, templates and chance are not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.rows import RejectLog
from ptft.stages.export.overlap import held_out, refuse_same_file, shared
from ptft.stages.export.rows import Texts

ENGLISH = "Heavy rain closed the coastal road for a third day, and farmers in the valley watched the river rise again."
CHINESE = "连日暴雨使沿海公路第三天封闭，山谷里的农民从四月起就盼着一场透雨，如今看着河水漫过老石桥。"
WORDS = [f"word{number}" for number in range(400)]
HAN = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 800))


def texts(*rows: str, name: str = "calibration.jsonl", **more) -> Texts:
    return Texts(list(rows), places=[(name, line) for line in range(1, len(rows) + 1)], **more)


def lines(calibration: list[str], verification: list[str]) -> list[tuple[int, int]]:
    found = shared(texts(*calibration), texts(*verification, name="verify.jsonl"))
    return [(pair.calibration[1], pair.verification[1]) for pair in found]


def own(row: int, count: int = 40) -> str:
    """Words that no other row has."""
    return " ".join(f"r{row}w{place}" for place in range(count))


def own_han(row: int, count: int = 80) -> str:
    draw = np.random.default_rng(row)
    return "".join(chr(0x6000 + code) for code in draw.integers(0, 8000, count))


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize(
    "copy",
    [
        ENGLISH,
        ENGLISH.upper(),
        ENGLISH.replace(" ", "\n  "),
        ENGLISH.replace(",", " --").rstrip("."),
        "".join(chr(ord(letter) + 0xFEE0) if letter.isalnum() else letter for letter in ENGLISH),
    ],
    ids=["exact", "case", "space", "punctuation", "width"],
)
def test_copies_in_english(copy):
    assert lines([own(1), ENGLISH], [own(2), own(3), copy]) == [(2, 3)]


@pytest.mark.parametrize("copy", [CHINESE, CHINESE.replace("，", ","), " ".join(CHINESE), CHINESE.strip("。") + "！！"])
def test_copies_in_chinese(copy):
    assert lines([own_han(1), CHINESE], [own_han(2), own_han(3), copy]) == [(2, 3)]


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        ("OK", False),
        ("Yes, sure!", False),
        ("I see it now", True),
        ("是", False),
        ("好的好的没问题", False),
        ("我们明天一起去吧", True),
    ],
)
def test_short_rows_are_equal_by_chance(row, counts):
    assert lines([own(1), row], [own(2), row]) == ([(2, 2)] if counts else [])


def test_many_copies_are_no_template():
    assert len(lines([ENGLISH] * 40, [ENGLISH] * 40)) == 40


@settings(max_examples=40)
@given(st.lists(st.sampled_from(WORDS[:60]), min_size=4, max_size=80), st.randoms(use_true_random=False))
def test_a_copy_is_found_however_it_is_written(words, random):
    changed = "".join(random.choice([word, word.upper()]) + random.choice([" ", "\n", ", ", "!  "]) for word in words)
    assert lines([own(1), changed], [own(2), " ".join(words)]) == [(2, 2)]


# ---------------------------------------------------------------- runs


def around(run: str, row: int, count: int, gap: str = " ") -> str:
    return gap.join([own(row, count // 2), run, own(row + 100, count - count // 2)])


@pytest.mark.parametrize(("run", "others", "counts"), [(13, 50, True), (12, 20, False), (13, 60, False), (20, 60, True), (50, 400, True), (49, 400, False)])  # fmt: skip
def test_runs_of_words(run, others, counts):
    """13 words or more: a fifth of a row, or 50 words."""
    passage = " ".join(WORDS[:run])
    found = lines([own(1), around(passage, 2, others)], [around(passage.upper(), 3, others)])
    assert found == ([(2, 1)] if counts else [])


@pytest.mark.parametrize(("run", "others", "counts"), [(26, 90, True), (25, 40, False), (26, 140, False), (100, 900, True), (99, 900, False)])  # fmt: skip
def test_runs_of_characters(run, others, counts):
    passage = HAN[:run]
    rows = [own_han(number, others // 2) + passage + own_han(number + 50, others - others // 2) for number in (1, 2)]
    assert lines([own_han(9), rows[0]], [rows[1]]) == ([(2, 1)] if counts else [])


def test_a_short_row_inside_a_long_one_either_way():
    long = around(ENGLISH, 1, 400)
    assert lines([own(5), long], [ENGLISH]) == [(2, 1)] and lines([own(5), ENGLISH], [own(6), long]) == [(2, 2)]
    assert lines([CHINESE], [own_han(1, 900) + CHINESE + own_han(2)]) == [(1, 1)]


def test_pairs_are_read_as_one_row():
    ours, theirs = (
        texts("It rained", pairs=["The road is dry"]),
        texts("It rained", pairs=["The road is wet"], name="v"),
    )
    assert not shared(ours, theirs) and len(shared(ours, texts("it rained", pairs=["the road is dry."], name="v"))) == 1


# ---------------------------------------------------------------- templates

PREAMBLE = "You are a careful assistant who answers every question of the user briefly, honestly and in the language it was asked in."
BEGINNING = "把下面这段话翻译成英文，要求忠实原文，语言流畅自然，不要添加任何解释说明，也不要漏译，直接给出译文即可："


@pytest.mark.parametrize("counts", [(4, 4), (3, 60), (60, 3), (100, 100)])
@pytest.mark.parametrize("template", [PREAMBLE, BEGINNING], ids=["en", "zh"])
def test_templates_are_nobodys(template, counts):
    text = own if template == PREAMBLE else own_han
    ours = [f"{template} {text(number, 30)}" for number in range(counts[0])]
    theirs = [f"{template} {text(1000 + number, 30)}" for number in range(counts[1])]
    assert lines(ours, theirs) == []
    assert lines([*ours, f"{template} {text(1001, 30)}"], theirs) == [(counts[0] + 1, 2)]


def test_what_follows_a_template_by_chance():
    """Twelve words of the template and one of their own are no run of thirteen."""
    ours = [f"{PREAMBLE} The {own(number, 25)}" for number in range(40)]
    theirs = [f"{PREAMBLE} {'The' if number < 3 else 'An'} {own(number + 100, 25)}" for number in range(40)]
    assert lines(ours[:5], theirs) == []


def test_a_short_template_and_a_beginning_by_chance():
    """Beside a long one."""

    def asked(number: int, what: str) -> str:
        return f"{PREAMBLE} x{number} Translate the following sentence into plain English: {what}"

    ours, theirs = ([asked(number, own(number, 14)) for number in range(first, first + 20)] for first in (0, 100))
    ours[3], theirs[4] = (asked(number, f"I do not know whether they {own(number, 8)}") for number in (50, 51))
    assert lines(ours, theirs) == []


def test_a_template_of_many_rows_on_one_side():
    ours = [f"{PREAMBLE if number < 30 else ''} {own(number, 30)}" for number in range(100)]
    theirs = [f"{PREAMBLE if number < 2 else ''} {own(1000 + number, 30)}" for number in range(30)]
    assert lines(ours, theirs) == lines(theirs, ours) == []


@pytest.mark.parametrize("rows", [2, 30])
def test_chat_markers(rows):
    """Around short messages most of a row is markers."""

    def chat(number: int) -> str:
        turns = [
            ("system", "You are a helpful assistant"),
            ("user", f"asks{number} it"),
            ("assistant", f"says{number}"),
        ]
        return "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)

    ours, theirs = [chat(number) for number in range(rows)], [chat(number + 100) for number in range(rows)]
    assert lines(ours, theirs) == [] and lines(ours, [*theirs, chat(1).replace("says", "SAYS,")]) == [(2, rows + 1)]


# ---------------------------------------------------------------- what is said


def test_the_refusal_names_both_rows_the_text_and_the_way_out(tmp_path):
    ours, theirs = texts(own(1), ENGLISH, CHINESE), texts(own(2), CHINESE, own(3), ENGLISH, name="verify.jsonl")
    with pytest.raises(InputError) as error:
        held_out(ours, theirs, RejectLog(tmp_path / "rejected.jsonl", 0))
    said = error.value
    assert said.where == "calibration.jsonl:2" and said.message.startswith("2 of the 3 calibration rows overlap")
    assert "verify.jsonl:4" in said.message and "Heavy rain closed the coastal road" in said.message
    assert "ptft split" in said.remedy and "ptft clean calibration.jsonl --protect verify.jsonl" in said.remedy


def test_the_sentences_of_ptft_itself_are_nobodys(tmp_path):
    log = RejectLog(tmp_path / "rejected.jsonl", 0)
    ours = texts(ENGLISH)
    assert held_out(ours, texts(ENGLISH, name="verify.jsonl", built_in=True), log) == ours


def test_a_file_for_both(tmp_path, monkeypatch):
    """However it is named, and however short its rows are."""
    for name, rows in {"rows.txt": "OK\n是\n", "other.txt": "OK\n是\n", "third.txt": "OK\n不是\n"}.items():
        (tmp_path / name).write_text(rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ours = expand([str(tmp_path / "rows.txt")])
    with pytest.raises(InputError, match="are the same file") as error:
        refuse_same_file(ours, expand(["rows.txt"]))
    assert "ptft split" in error.value.remedy and error.value.where == str(tmp_path / "rows.txt")
    with pytest.raises(InputError, match=r"are of the same content as other\.txt"):
        refuse_same_file(ours, expand(["third.txt", "other.txt"]))
    refuse_same_file(ours, expand(["third.txt"]))


def test_few_rows_are_left_out_and_more_are_refused(tmp_path):
    rows = [own(number) for number in range(49)]
    ours, theirs = texts(*rows, ENGLISH, labels=list(range(50))), texts(own(90), ENGLISH.lower(), name="verify.jsonl")
    log = RejectLog(tmp_path / "rejected.jsonl", 0.02)
    log.ok(52)
    kept = held_out(ours, theirs, log)
    assert kept.texts == rows and kept.labels == list(range(49)) and len(kept.places) == 49 and kept.pairs is None
    (said,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert "overlaps verify.jsonl:2: Heavy rain" in said and (log.rows, log.bad) == (52, 1)
    with pytest.raises(InputError, match="1 of the 50 calibration rows"):
        held_out(ours, theirs, RejectLog(tmp_path / "strict.jsonl", 0.01))
    assert held_out(ours, texts(ENGLISH, name="v", built_in=True), log) == ours


def test_thousands_of_rows_take_seconds():
    draw = np.random.default_rng(0)
    sides = [[" ".join(f"w{word}" for word in row) for row in draw.integers(0, 20_000, (2000, 60))] for _ in range(2)]
    sides[1][1234] = sides[0][567].upper()
    begun = time.process_time()
    assert lines(*sides) == [(568, 1235)]
    assert time.process_time() - begun < 5
