"""`ptft eval` says so where nothing shows that its data was kept out of training, and is silent where something does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from ptft.core import record
from ptft.core.contracts import Inputs, Output
from ptft.core.files import Source, expand, hash_file
from ptft.core.progress import Silent
from ptft.core.record import Ancestor, FileEntry, RunRecord
from ptft.stages.eval.protected import warning
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.run import run

CLEAN, SPLIT = Ancestor("c1", "clean", ("raw",)), Ancestor("s1", "split", ("corpus",))


def made_by(folder: Path, run: str, stage: str, inputs: tuple[str, ...], *lineage: Ancestor) -> Path:
    """A folder with nothing but a run record."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = tuple(FileEntry(content, 1, content) for content in inputs)
    found = RunRecord(run, stage, "complete", "f", (), {}, 1, entries, (), lineage=lineage)
    (folder / record.NAME).write_bytes(record.to_json(found))
    return folder


def rows(path: Path, text: str = '{"text": "some words"}\n') -> tuple[Source, ...]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return expand([str(path)])


def test_a_file_that_nothing_protected_is_named_with_the_remedy(tmp_path: Path) -> None:
    model = made_by(tmp_path / "model", "m", "pretrain", ("pack",), CLEAN, SPLIT)
    said = warning(model, [*rows(tmp_path / "a.jsonl"), *rows(tmp_path / "b.jsonl", '{"text": "more"}\n')])
    assert said is not None and "a.jsonl" in said and "b.jsonl were kept" in said and "--protect FILE" in said


def test_a_file_that_clean_read_is_protected_under_any_name(tmp_path: Path) -> None:
    data = rows(tmp_path / "renamed.jsonl")
    other = rows(tmp_path / "other.jsonl", '{"text": "other"}\n')
    cleaned = Ancestor("c2", "clean", ("raw", hash_file(data[0].path)))
    model = made_by(tmp_path / "model", "m", "pretrain", ("pack",), CLEAN, cleaned)
    assert warning(model, data) is None
    said = warning(model, [*data, *other])
    assert said is not None and "other.jsonl was kept" in said and "renamed" not in said


def test_only_what_clean_read_protects(tmp_path: Path) -> None:
    data = rows(tmp_path / "test.jsonl")
    trained = Ancestor("p", "pretrain", (hash_file(data[0].path),))
    assert warning(made_by(tmp_path / "model", "m", "finetune", ("x",), CLEAN, trained), data) is not None


def test_a_part_of_the_models_own_split_is_protected(tmp_path: Path) -> None:
    folder = made_by(tmp_path / "split", "s1", "split", ("corpus",), CLEAN)
    data = rows(folder / "test.jsonl")
    assert warning(made_by(tmp_path / "model", "m", "pretrain", ("pack",), CLEAN, SPLIT), data) is None
    other = made_by(tmp_path / "other", "m", "pretrain", ("pack",), CLEAN, Ancestor("s2", "split", ("corpus",)))
    assert warning(other, data) is not None


def test_what_was_made_from_a_part_of_the_split_is_protected(tmp_path: Path) -> None:
    folder = made_by(tmp_path / "cleaned-test", "c9", "clean", ("test",), CLEAN, SPLIT)
    model = made_by(tmp_path / "model", "m", "pretrain", ("pack",), CLEAN, SPLIT)
    assert warning(model, rows(folder / "corpus.jsonl")) is None


@pytest.mark.parametrize("lineage", [(), (SPLIT,)])
def test_no_clean_run_no_warning(tmp_path: Path, lineage: tuple[Ancestor, ...]) -> None:
    data = rows(tmp_path / "test.jsonl")
    assert warning(made_by(tmp_path / "model", "m", "pretrain", ("x",), *lineage), data) is None
    assert warning(tmp_path / "nowhere", data) is None


def test_eval_warns(tmp_path: Path) -> None:
    model = tiny.causal(tmp_path / "model")
    data = rows(tmp_path / "rows.jsonl", json.dumps({"text": tiny.TEXTS[0]}) + "\n")
    for number, expected in enumerate((0, 1)):  # a model from elsewhere; one of ours
        new, progress = tmp_path / f"new{number}", Silent()
        (new / "state").mkdir(parents=True)
        inputs = Inputs({"data": data}, {"model": model})
        run(EvalRecipe(bootstrap=50), inputs, Output(tmp_path, new, new / "state"), progress)
        assert sum("--protect" in said for said in progress.warnings) == expected
        made_by(model, "m", "pretrain", ("pack",), CLEAN)
