"""Evaluation rows in training text: found by lineage, by whole files, and by runs of words, in English and Chinese."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptft.core import record
from ptft.core.files import expand, hash_file
from ptft.core.formats import read_rows
from ptft.core.record import Ancestor, FileEntry, RunRecord
from ptft.stages.eval.overlap import check, texts_of
from ptft.stages.eval.trained_on import trained_on

WORDS = [f"word{number}" for number in range(60)]
ENGLISH = "Heavy rain closed the coastal road for a third day and farmers in the valley watched the river rise again."
CHINESE = "连日暴雨使沿海公路第三天封闭山谷里的农民从四月起就盼着一场透雨如今看着河水漫过老石桥"
FILLER = "Something else is written here that has nothing to do with it, at some length, and then it ends."


def rows(path: Path, *data: dict | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"id": f"{path.stem}{number}", **({"text": one} if isinstance(one, str) else one)}
        for number, one in enumerate(data)
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def looked(evaluation: Path, *train: Path, model: Path | None = None, **more):
    data = expand([str(evaluation)])
    return check(model, data, texts_of(read_rows(data)), train=expand([str(path) for path in train]), **more)


def ids(found):
    return [one.id for one in found.found]


# ---------------------------------------------------------------- runs of words


@pytest.mark.parametrize("shared", [12, 13])
def test_thirteen_words_in_a_row(tmp_path, shared):
    evaluation = rows(tmp_path / "e.jsonl", " ".join(WORDS[:40]), FILLER)
    train = rows(tmp_path / "t.jsonl", "No.", f"Here: {' '.join(WORDS[20 : 20 + shared]).upper()}! And more.")
    found = looked(evaluation, train)
    assert ids(found) == (["e0"] if shared == 13 else []) and found.share == (0.5 if shared == 13 else 0.0)
    assert (found.rows, found.complete, found.unjudged) == (2, True, 0)
    if shared == 13:
        assert (found.found[0].file, found.found[0].text) == ("t.jsonl:2", " ".join(WORDS[20:33]).upper())
        assert found.found[0].share == pytest.approx(1 / 28) and found.mostly == 0


@pytest.mark.parametrize("shared", [25, 26])
def test_twenty_six_chinese_characters_in_a_row(tmp_path, shared):
    evaluation = rows(tmp_path / "e.jsonl", CHINESE)
    train = rows(tmp_path / "t.jsonl", f"他说：“{CHINESE[3 : 3 + shared]}。”别的话")
    assert len(looked(evaluation, train).found) == (shared == 26)


def test_runs_do_not_reach_over_texts_or_fields(tmp_path):
    evaluation = rows(tmp_path / "e.jsonl", " ".join(WORDS[:20]))
    cut = {"text": " ".join(WORDS[:10]), "more": " ".join(WORDS[10:20])}
    assert not looked(evaluation, rows(tmp_path / "t.jsonl", cut, " ".join(WORDS[:12]), " ".join(WORDS[12:20]))).found


def test_short_rows_are_looked_for_whole(tmp_path):
    evaluation = rows(
        tmp_path / "e.jsonl",
        " ".join(WORDS[:9]),
        "Who are you today?",
        "你是谁啊朋友们好",
        "Hi there",
        "Yes",
        " ".join(WORDS[:7]),
    )
    train = rows(
        tmp_path / "t.jsonl",
        {"messages": [{"role": "user", "content": "who are YOU, today"}, {"role": "assistant", "content": "A bot"}]},
        {"prompt": "你是谁啊，朋友们好？", "completion": "Hi there"},
        f"And then {' '.join(WORDS[:9])} came", f"And then {' '.join(WORDS[:7])} came",
    )  # fmt: skip
    found = looked(evaluation, train)
    assert ids(found) == ["e0", "e1", "e2"]  # of fewer than eight words only a whole text counts
    assert (found.rows, found.unjudged, found.mostly) == (6, 2, 3)
    assert found.found[1].text == "who are YOU, today"


def test_a_short_row_of_two_texts_is_looked_for_as_both(tmp_path):
    pair = {"text": "It rained", "text_pair": "The road stayed dry", "label": "no"}
    train = rows(tmp_path / "t.jsonl", {**pair, "label": "yes"})
    found = looked(rows(tmp_path / "e.jsonl", pair, {**pair, "text_pair": "The road got wet"}), train)
    assert ids(found) == ["e0"] and found.found[0].text == "It rained\nThe road stayed dry"


def test_what_is_asked_is_looked_for_not_the_answer(tmp_path):
    evaluation = rows(tmp_path / "e.jsonl", {"text": FILLER, "label": ENGLISH}, {"source": FILLER, "target": ENGLISH})
    assert not looked(evaluation, rows(tmp_path / "t.jsonl", ENGLISH)).found
    assert ids(looked(evaluation, rows(tmp_path / "t.jsonl", FILLER))) == ["e0", "e1"]


def test_the_template_of_the_questions_is_no_overlap(tmp_path):
    """Every question begins alike; only the one that training text holds otherwise is found."""
    template = " ".join(WORDS[:16])
    asked = [f"{template} {' '.join(f'q{number}x{place}' for place in range(15))}" for number in range(30)]
    train = rows(tmp_path / "t.jsonl", template, f"{FILLER} {asked[7]}")
    found = looked(rows(tmp_path / "e.jsonl", *asked, template), train)
    assert ids(found) == ["e7"] and found.unjudged == 1


def test_a_passage_of_several_questions_is_found_for_all(tmp_path):
    asked = [{"question": f"What is {number}?", "context": ENGLISH, "answers": ["x"]} for number in range(4)]
    found = looked(rows(tmp_path / "e.jsonl", *asked, FILLER), rows(tmp_path / "t.jsonl", ENGLISH))
    assert ids(found) == ["e0", "e1", "e2", "e3"]


def test_no_more_than_the_given_bytes_are_read_and_it_says_so(tmp_path):
    evaluation = rows(tmp_path / "e.jsonl", ENGLISH)
    train = rows(tmp_path / "t.jsonl", *[FILLER] * 10, ENGLISH)
    found = looked(evaluation, train, most_bytes=500)
    assert not found.found and not found.complete and 500 <= found.checked_bytes < 500 + len(FILLER)
    assert "only" in found.warnings()[-1] and "--train-data" in found.warnings()[-1]
    assert looked(evaluation, train).complete


def test_no_words_no_search(tmp_path):
    evaluation = rows(tmp_path / "e.jsonl", ENGLISH)
    found = looked(evaluation, rows(tmp_path / "t.jsonl", ENGLISH), words=0)
    assert not found.found and found.share is None and not found.checked_bytes


def test_the_warning_says_the_share_and_what_to_do(tmp_path):
    evaluation = rows(tmp_path / "e.jsonl", ENGLISH, FILLER, CHINESE, "x")
    found = looked(evaluation, rows(tmp_path / "t.jsonl", ENGLISH, CHINESE, "other text"))
    (said,) = found.warnings()
    assert said.startswith("2 of 4 rows (50.0%)") and "t.jsonl" in said and "ptft clean ... --protect FILE" in said
    json_of = found.as_json()
    assert (json_of["rows"], json_of["share"], json_of["checked_rows"], json_of["unjudged"]) == (2, 0.5, 4, 1)
    assert json_of["examples"][0] == {
        "id": "e0",
        "share": 1.0,
        "file": "t.jsonl:1",
        "text": " ".join(ENGLISH.split()[:13]),
    }
    assert json_of["warning"] == said and json_of["files"] == ["t.jsonl"]


# ---------------------------------------------------------------- what records name


def made(folder: Path, stage: str, *inputs: tuple[str, Path], lineage=(), recorded: Path | None = None) -> Path:
    """A folder with a run record; paths as they were for a command in `recorded`."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = tuple(
        FileEntry(str(path.relative_to(recorded) if recorded else path), path.stat().st_size, hash_file(path), role)
        for role, path in inputs
    )
    found = RunRecord(folder.name, stage, "complete", "f", (), {}, 1, entries, (), lineage=lineage)
    (folder / record.NAME).write_bytes(record.to_json(found))
    return folder


def chain(folder: Path, recorded: Path | None = None) -> Path:
    """Packed, pretrained, fine-tuned and exported; the model is the last."""
    text, chat = (
        rows(folder / "split/train.jsonl", ENGLISH),
        rows(folder / "chat/train.jsonl", {"prompt": CHINESE, "completion": "a"}),
    )
    held = rows(folder / "chat/val.jsonl", FILLER)
    pack = made(folder / "pack", "pack", ("data", text), recorded=recorded)
    (pack / "tokenizer").mkdir()
    for name in ("tokens.json", "train-00000.bin", "tokenizer/tokenizer.json"):
        (pack / name).write_text(name)
    pretrained = made(
        folder / "pretrain",
        "pretrain",
        ("data", pack / "tokens.json"),
        ("data", pack / "train-00000.bin"),
        ("data", pack / "tokenizer/tokenizer.json"),  # no training text
        recorded=recorded,
    )
    (pretrained / "config.json").write_text("{}")
    tuned = made(
        folder / "tuned", "finetune instruction", ("model", pretrained / "config.json"), ("data", chat), ("eval_data", held), recorded=recorded
    )  # fmt: skip
    (tuned / "config.json").write_text("{ }")
    return made(folder / "int8", "export", ("model", tuned / "config.json"), ("verify", held), recorded=recorded)


def test_training_text_is_found_through_every_run_before(tmp_path):
    model = chain(tmp_path)
    found = looked(rows(tmp_path / "e.jsonl", ENGLISH, CHINESE, FILLER), model=model)
    assert ids(found) == ["e0", "e1"]  # what was only measured on while training is not found
    assert (
        found.complete and not found.missing and {Path(name).parent.name for name in found.files} == {"split", "chat"}
    )


def test_records_of_a_command_run_elsewhere(tmp_path, monkeypatch):
    model = chain(tmp_path / "project/build", recorded=tmp_path / "project")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    training = trained_on(model)
    assert [source.name for source in training.sources] == ["build/chat/train.jsonl", "build/split/train.jsonl"]


def test_what_is_gone_or_changed_is_named(tmp_path):
    model = chain(tmp_path)
    rows(tmp_path / "split/train.jsonl", ENGLISH.swapcase())
    (tmp_path / "chat/train.jsonl").unlink()
    training = trained_on(model)
    assert training.known and not training.sources and len(training.missing) == 2
    found = looked(rows(tmp_path / "e.jsonl", ENGLISH), model=model)
    assert found.share is None and len(found.as_json()["missing"]) == 2


def test_a_training_file_is_known_under_any_name(tmp_path):
    model = chain(tmp_path)
    data = tmp_path / "renamed.jsonl"
    data.write_bytes((tmp_path / "split/train.jsonl").read_bytes())
    (tmp_path / "split/train.jsonl").unlink()  # the record still knows its content
    found = looked(data, model=model)
    assert found.same_files == ("renamed.jsonl",) and "is a file that the model was trained on" in found.warnings()[0]
    held = tmp_path / "chat/val.jsonl"
    assert looked(held, model=model).same_files == ()


def test_a_model_without_records_says_nothing(tmp_path):
    (tmp_path / "model").mkdir()
    found = looked(rows(tmp_path / "e.jsonl", ENGLISH), model=tmp_path / "model")
    assert found.warnings() == [] and found.share is None


def test_packed_training_data_is_followed_to_its_text(tmp_path):
    chain(tmp_path)
    assert ids(looked(rows(tmp_path / "e.jsonl", ENGLISH, CHINESE), tmp_path / "pack")) == ["e0"]


def test_what_the_text_itself_settles_lineage_does_not_ask(tmp_path):
    """Lineage alone would warn, as nothing protected the file; but all training text was read, and the row is not there."""
    text = rows(tmp_path / "corpus.jsonl", ENGLISH)
    cleaned = (Ancestor("c1", "clean", ("raw",)),)
    model = made(tmp_path / "model", "pretrain", ("data", text), lineage=cleaned)
    evaluation = rows(tmp_path / "e.jsonl", FILLER)
    settled = looked(evaluation, model=model)
    assert settled.unprotected and not settled.warnings()
    text.unlink()
    assert looked(evaluation, model=model).warnings() == [settled.unprotected]
