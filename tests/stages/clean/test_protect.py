"""Decontamination: what an evaluation set shares with the rows goes, and is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cleaning import clean, rows_of, write_rows
from documents import chinese, documents, english
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.minhash import token_spans, tokenise
from ptft.core.progress import Silent
from ptft.stages.clean.protect import cut, protected
from ptft.stages.clean.recipe import Protect

RNG = random.Random(11)
QUESTION = "Which harbour engineer of the northern council repaired the narrow wooden bridge in that early spring?"
FRAGE = "去年春天在北方港口修好了那座又窄又旧的木桥的工程师是谁呢"


def corpus(folder: Path) -> tuple[Path, Path]:
    """Documents, of which two hold an evaluation question; and the evaluation set."""
    rows = documents(20)
    rows[4]["text"] += f"\nHe asked: {QUESTION.upper()} Nobody knew."
    rows[5]["text"] += f"\n他问：{FRAGE}？没有人知道。"
    evaluation = [{"id": "q1", "text": QUESTION, "label": "who"}, {"id": "q2", "text": FRAGE, "label": "who"}]
    return write_rows(folder / "in.jsonl", rows), write_rows(folder / "eval.jsonl", evaluation)


def test_rows_that_share_text_with_an_evaluation_set_go_and_name_it(tmp_path: Path) -> None:
    data, evaluation = corpus(tmp_path)
    record = clean(tmp_path / "out", data, sets=[f"protect.files={evaluation}"])
    dropped = rows_of(tmp_path / "out/dropped.jsonl")
    assert [(row["id"], row["reasons"][0]["rule"], row["reasons"][0]["value"]) for row in dropped] == [
        ("doc0004", "protected", "eval.jsonl:q1"), ("doc0005", "protected", "eval.jsonl:q2"),
    ]  # fmt: skip
    assert record.counts["dropped_by_reason"] == {"protected": 2}
    assert any(entry.role == "protect.files" for entry in record.inputs)


def test_a_shared_span_can_be_cut_out(tmp_path: Path) -> None:
    data, evaluation = corpus(tmp_path)
    record = clean(tmp_path / "out", data, sets=[f"protect.files={evaluation}", "protect.action=cut"])
    rows = {row["id"]: row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")}
    assert record.counts["kept"] == 20 and record.counts["edits"] == {"rows_cut_for_evaluation": 2}
    assert "HARBOUR" not in rows["doc0004"] and rows["doc0004"].endswith("He asked: ? Nobody knew.")
    assert "木桥" not in rows["doc0005"] and rows["doc0005"].endswith("他问：？没有人知道。")


def test_short_evaluation_texts_are_looked_for_whole_or_named_as_too_short(tmp_path: Path) -> None:
    rows = documents(6)
    rows[0]["text"] += "\nThe old grey cat sat down on the warm mat."
    evaluation = [{"text": "the old grey cat sat down on the warm mat"}, {"text": "yes, it is"}]
    progress = Silent()
    data, path = write_rows(tmp_path / "in.jsonl", rows), write_rows(tmp_path / "eval.jsonl", evaluation)
    clean(tmp_path / "out", data, sets=[f"protect.files={path}"], progress=progress)
    assert [row["id"] for row in rows_of(tmp_path / "out/dropped.jsonl")] == ["doc0000"]
    assert any("1 evaluation texts have fewer than 8 tokens" in warning for warning in progress.warnings)


def test_every_text_of_an_evaluation_row_is_protected(tmp_path: Path) -> None:
    rows = documents(6)
    rows[2]["text"] += "\n" + QUESTION
    evaluation = [{"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Nobody."}]}]
    data, path = write_rows(tmp_path / "in.jsonl", rows), write_rows(tmp_path / "eval.jsonl", evaluation)
    clean(tmp_path / "out", data, sets=[f"protect.files={path}"])
    assert [row["id"] for row in rows_of(tmp_path / "out/dropped.jsonl")] == ["doc0002"]


def test_an_empty_evaluation_set_is_an_error(tmp_path: Path) -> None:
    data, path = write_rows(tmp_path / "in.jsonl", documents(2)), write_rows(tmp_path / "eval.jsonl", [])
    with pytest.raises(InputError, match="no rows"):
        clean(tmp_path / "out", data, sets=[f"protect.files={path}"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_no_evaluation_ngram_survives_a_cut(tmp_path_factory: pytest.TempPathFactory, seed: int, han: bool) -> None:
    rng = random.Random(seed)
    make = chinese if han else english
    source, other = make(rng, 6), make(rng, 6)
    place = rng.randrange(len(other))
    text = other[:place] + " " + source[rng.randrange(40) : 80 + rng.randrange(200)] + " " + other[place:]
    path = write_rows(tmp_path_factory.mktemp("eval") / "eval.jsonl", [{"id": "e", "text": source}])
    found = protected(expand([str(path)]), Protect())
    spans = found.find(tokenise([text]).hashes)
    left = cut(text, spans, token_spans(text))
    assume(spans)
    windows = {tuple(tokenise([source]).hashes[at : at + 13]) for at in range(len(tokenise([source]).hashes) - 12)}
    hashes = tokenise([left]).hashes
    joints = {tuple(hashes[at : at + 13]) for at in range(len(hashes) - 12)} & windows
    assert not joints or not any(tuple(tokenise([part]).hashes) in windows for part in left.split("\n"))


# ---------------------------------------------------------------- what leaks otherwise


def protect(folder: Path, row: str, evaluation: str, *sets: str) -> list[dict[str, object]]:
    """The dropped rows, given one evaluation text and a row that holds some of it among others."""
    rows = [*documents(4), {"id": "x", "text": row}]
    data = write_rows(folder / "in.jsonl", rows)
    path = write_rows(folder / "eval.jsonl", [{"id": "e", "text": evaluation}])
    clean(folder / "out", data, rules="off", sets=[f"protect.files={path}", *sets])
    return rows_of(folder / "out/dropped.jsonl")


def test_ends_that_meet_after_a_cut_are_looked_at_again(tmp_path: Path) -> None:
    words = [f"e{number}" for number in range(13)]
    row = " ".join([*words[:6], *words, *words[6:], "finish"])
    assert protect(tmp_path, f"start {row}", " ".join(words), "protect.action=cut") == []
    (left,) = [row for row in rows_of(tmp_path / "out/corpus.jsonl") if row["id"] == "x"]
    assert left["text"] == "start finish" and left["cut_for"] == ["eval.jsonl:e"]


def test_a_row_that_is_all_evaluation_text_is_dropped_and_says_what_it_was(tmp_path: Path) -> None:
    (row,) = protect(tmp_path, QUESTION, QUESTION, "protect.action=cut")
    assert row["text"] == QUESTION
    assert row["reasons"] == [{"rule": "protected", "value": "eval.jsonl:e", "limit": 13}]


def test_evaluation_texts_are_written_as_rows_are(tmp_path: Path) -> None:
    import unicodedata

    accents = "El señor Muñoz compró ocho días después cinco pequeños niños de porcelana en el almacén más próximo"
    traditional = "去年春天在北方港口修好了那座又窄又舊的木橋的工程師是誰呢"
    email = "Please write to editor@village-letter.com about the harbour bridge and the old wooden boat of the teacher"
    for number, (row, evaluation, sets) in enumerate(
        [
            (accents, unicodedata.normalize("NFD", accents), ()),
            (FRAGE, traditional, ("normalise.script=simplified",)),
            (email, email, ("personal=all",)),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert [row["id"] for row in protect(folder, row, evaluation, *sets)] == ["x"], row


def test_texts_deep_in_an_evaluation_row_are_protected(tmp_path: Path) -> None:
    rows = documents(4)
    rows[2]["text"] += "\n" + QUESTION
    evaluation = [{"id": "m", "question": "Which?", "choices": [{"text": "none"}, {"text": QUESTION}], "answer": 1}]
    data, path = write_rows(tmp_path / "in.jsonl", rows), write_rows(tmp_path / "eval.jsonl", evaluation)
    clean(tmp_path / "out", data, sets=[f"protect.files={path}"])
    assert [row["id"] for row in rows_of(tmp_path / "out/dropped.jsonl")] == ["doc0002"]


def test_an_evaluation_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    data, path = write_rows(tmp_path / "in.jsonl", documents(2)), tmp_path / "eval.jsonl"
    path.write_text('{"text": "fine"}\n{"text": "cut sh\n', "utf-8")
    with pytest.raises(InputError, match=r"eval\.jsonl:2.*cannot be read"):
        clean(tmp_path / "out", data, sets=[f"protect.files={path}"])
