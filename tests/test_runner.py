"""The life of an output folder: made, up to date, refused, resumed, published."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import sys
import types
from dataclasses import dataclass

import orjson
import pytest

from ptft.core import record
from ptft.core.contracts import CORPUS, Argument, Plan, Result, Stage
from ptft.core.errors import GateError, InputError, Interrupted, UsageError
from ptft.core.progress import Silent
from ptft.core.recipes import Recipe, knob
from ptft.runner import Request, execute


@dataclass(frozen=True, kw_only=True)
class CopyRecipe(Recipe):
    times: int = knob(1, "copies")
    workers: int = knob(1, "processes", identity=False)


class FakeStage(types.ModuleType):
    """A stage that copies its input; it can be told to stop halfway, as a kill would."""

    def __init__(self):
        super().__init__("fake_stage")
        self.calls, self.error, self.gates, self.bad = 0, None, (), False

    def run(self, recipe, inputs, out, progress):
        self.calls += 1
        text = b"".join(source.path.read_bytes() for source in inputs.data)
        (out.new / "corpus.jsonl").write_bytes(text * recipe.times)
        (out.state / "seen").write_text(str(self.calls))
        if self.bad:
            (out.new / "rejected.jsonl").write_text("{}\n")
        if self.error:
            raise self.error
        return Result(counts={"rows": 1}, gates=self.gates)

    def plan(self, recipe, inputs, progress):
        return Plan((("files", len(inputs.data)),))


@pytest.fixture
def fake(monkeypatch):
    module = FakeStage()
    monkeypatch.setitem(sys.modules, "fake_stage", module)
    return module


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n')
    return path


def request(corpus, out, **kwargs):
    stage = Stage("copy", "", CopyRecipe, "fake_stage", (Argument("data", "INPUT...", "", "rows"),), CORPUS)
    recipe = kwargs.pop("recipe", CopyRecipe())
    return Request(stage, recipe, {"data": (str(corpus),)}, ("ptft", "copy"), out, **kwargs)


def test_a_run_that_is_refused_before_it_makes_anything_leaves_no_folder(corpus, tmp_path, monkeypatch):
    class Refuses:
        def run(self, recipe, inputs, out, progress):
            raise InputError("bad", remedy="mend")

    monkeypatch.setitem(sys.modules, "fake_stage", Refuses())
    with pytest.raises(InputError):
        execute(request(corpus, tmp_path / "out"), Silent())
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError):
        execute(request(corpus, tmp_path / "there"), Silent())
    assert not (tmp_path / "there").exists() or not any((tmp_path / "there").iterdir())


def test_a_finished_run_is_up_to_date_and_recorded(fake, corpus, tmp_path):
    out = tmp_path / "out"
    first = execute(request(corpus, out), Silent())
    again = execute(request(corpus, out), Silent())
    assert (first.up_to_date, again.up_to_date, fake.calls) == (False, True, 1)
    assert again.record == first.record
    assert sorted(path.name for path in out.iterdir()) == ["corpus.jsonl", "run.json"]
    entry = first.record.outputs[0]
    assert (entry.path, entry.bytes, entry.rows) == ("corpus.jsonl", 14, 1)
    assert first.record.inputs[0].role == "data"


def test_what_does_not_matter_keeps_it_up_to_date(fake, corpus, tmp_path):
    execute(request(corpus, tmp_path / "out"), Silent())
    assert execute(request(corpus, tmp_path / "out", recipe=CopyRecipe(workers=9)), Silent()).up_to_date


def test_other_settings_are_refused_and_named_then_forced(fake, corpus, tmp_path):
    out = tmp_path / "out"
    execute(request(corpus, out), Silent())
    with pytest.raises(UsageError, match="times 1 -> 2") as error:
        execute(request(corpus, out, recipe=CopyRecipe(times=2)), Silent())
    assert "--force" in error.value.remedy
    execute(request(corpus, out, recipe=CopyRecipe(times=2), force=True), Silent())
    assert (out / "corpus.jsonl").read_bytes() == corpus.read_bytes() * 2


def test_changed_input_and_changed_output_are_named(fake, corpus, tmp_path):
    out = tmp_path / "out"
    execute(request(corpus, out), Silent())
    (out / "corpus.jsonl").write_text("edited\n")
    with pytest.raises(UsageError, match=r"corpus\.jsonl changed since"):
        execute(request(corpus, out), Silent())
    corpus.write_text('{"text": "b"}\n')
    execute(request(corpus, out, force=True), Silent())
    corpus.write_text('{"text": "c"}\n')
    with pytest.raises(UsageError, match=r"in\.jsonl changed"):
        execute(request(corpus, out), Silent())


def test_touching_an_input_changes_nothing(fake, corpus, tmp_path):
    execute(request(corpus, tmp_path / "out"), Silent())
    corpus.touch()
    assert execute(request(corpus, tmp_path / "out"), Silent()).up_to_date


def test_a_folder_of_somebody_elses_files_is_never_touched(fake, corpus, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="did not make"):
            execute(request(corpus, out, force=force), Silent())
    assert (out / "thesis.txt").read_text() == "mine"


def test_forcing_keeps_files_that_are_not_in_the_record(fake, corpus, tmp_path):
    out = tmp_path / "out"
    execute(request(corpus, out), Silent())
    (out / "notes.txt").write_text("mine")
    execute(request(corpus, out, recipe=CopyRecipe(times=3), force=True), Silent())
    assert (out / "notes.txt").read_text() == "mine"


def test_an_output_over_its_input_is_refused(fake, corpus, tmp_path):
    with pytest.raises(UsageError, match="holds the input"):
        execute(request(corpus, corpus.parent), Silent())


def test_an_interrupted_run_leaves_no_result_and_goes_on(fake, corpus, tmp_path):
    out = tmp_path / "out"
    fake.error = KeyboardInterrupt()
    with pytest.raises(Interrupted):
        execute(request(corpus, out), Silent())
    assert [path.name for path in out.iterdir()] == [".ptft"]
    with pytest.raises(UsageError, match="unfinished copy with other"):
        execute(request(corpus, out, recipe=CopyRecipe(times=2)), Silent())
    fake.error = None
    execute(request(corpus, out), Silent())
    assert sorted(path.name for path in out.iterdir()) == ["corpus.jsonl", "run.json"]


def test_an_unfinished_folder_is_no_input(fake, corpus, tmp_path):
    fake.error = KeyboardInterrupt()
    with pytest.raises(Interrupted):
        execute(request(corpus, tmp_path / "a"), Silent())
    for argument in (tmp_path / "a", tmp_path / "a" / "corpus.jsonl"):
        with pytest.raises(InputError) as error:
            execute(request(argument, tmp_path / "b"), Silent())
        assert "goes on where it stopped" in error.value.remedy


def test_killed_while_publishing_the_same_command_finishes_it(fake, corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(record, "to_json", lambda finished: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        execute(request(corpus, out), Silent())
    assert not (out / "run.json").exists()
    monkeypatch.undo()
    sys.modules["fake_stage"] = fake
    execute(request(corpus, out), Silent())
    assert fake.calls == 1  # the work was not done twice
    assert sorted(path.name for path in out.iterdir()) == ["corpus.jsonl", "run.json"]


def test_bad_input_keeps_the_rejected_rows_and_needs_no_force(fake, corpus, tmp_path):
    out = tmp_path / "out"
    fake.error, fake.bad = InputError("bad", remedy="mend"), True
    with pytest.raises(InputError):
        execute(request(corpus, out), Silent())
    assert (out / "rejected.jsonl").exists() and not (out / "run.json").exists()
    corpus.write_text('{"text": "mended"}\n')
    fake.error, fake.bad = None, False
    execute(request(corpus, out), Silent())
    assert sorted(path.name for path in out.iterdir()) == ["corpus.jsonl", "run.json"]


def test_a_gate_that_is_not_met_keeps_the_output_and_fails_again(fake, corpus, tmp_path):
    fake.gates = ("f1 0.5 is under 0.9",)
    for _ in range(2):
        with pytest.raises(GateError, match="is under"):
            execute(request(corpus, tmp_path / "out"), Silent())
    assert (tmp_path / "out" / "run.json").exists() and fake.calls == 1


def test_a_full_disk_leaves_no_result(fake, corpus, tmp_path):
    fake.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        execute(request(corpus, tmp_path / "out"), Silent())
    assert not (tmp_path / "out" / "run.json").exists()
    fake.error = None
    execute(request(corpus, tmp_path / "out"), Silent())


def test_two_processes_never_make_one_folder(fake, corpus, tmp_path):
    out = tmp_path / "out"
    (out / ".ptft").mkdir(parents=True)
    with (out / ".ptft" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another ptft"):
            execute(request(corpus, out), Silent())


def test_lineage_and_run_ids_follow_the_data(fake, corpus, tmp_path):
    first = execute(request(corpus, tmp_path / "a"), Silent()).record
    second = execute(request(tmp_path / "a" / "corpus.jsonl", tmp_path / "b"), Silent()).record
    assert second.inputs[0].run == first.run
    assert [one.run for one in second.lineage] == [first.run]
    assert second.lineage[0].files == (first.inputs[0].hash,)


def test_equal_results_have_equal_run_ids(fake, corpus, tmp_path):
    runs = {execute(request(corpus, tmp_path / name), Silent()).record.run for name in "ab"}
    assert len(runs) == 1


def test_dry_run_writes_nothing(fake, corpus, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    outcome = execute(request(corpus, tmp_path / "out", dry_run=True), Silent())
    assert outcome.plan is not None and outcome.plan.lines == (("files", 1),)
    assert sorted(tmp_path.rglob("*")) == before


def test_started_says_how_to_go_on(fake, corpus, tmp_path):
    fake.error = KeyboardInterrupt()
    with pytest.raises(Interrupted):
        execute(request(corpus, tmp_path / "out"), Silent())
    started = orjson.loads((tmp_path / "out" / ".ptft" / "started.json").read_bytes())
    assert started["command"] == ["ptft", "copy"]


def crash_at(monkeypatch, number):
    """Let the process die at the n-th rename of publishing, as a kill there would."""
    from pathlib import Path

    real, seen = Path.replace, [0]

    def replace(self, target):
        if ".ptft" in str(self) or (".part" in self.name and self.name.startswith(".run")):
            seen[0] += 1
            if seen[0] == number:
                raise SystemExit
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("forced", [False, True])
def test_killed_at_any_step_of_publishing_nothing_is_lost(fake, corpus, tmp_path, monkeypatch, moment, forced):
    out = tmp_path / "out"
    if forced:
        execute(request(corpus, out, recipe=CopyRecipe(times=5)), Silent())
    fake.bad = True
    crash_at(monkeypatch, moment)
    with contextlib.suppress(SystemExit):
        execute(request(corpus, out, force=forced), Silent())
    monkeypatch.undo()
    sys.modules["fake_stage"] = fake
    for _ in range(2):
        execute(request(corpus, out), Silent())
    assert sorted(path.name for path in out.iterdir()) == ["corpus.jsonl", "rejected.jsonl", "run.json"]
    assert (out / "corpus.jsonl").read_bytes() == corpus.read_bytes()


def test_a_forced_run_that_fails_keeps_the_old_result(fake, corpus, tmp_path):
    out = tmp_path / "out"
    old = execute(request(corpus, out), Silent()).record
    fake.error = InputError("bad", remedy="mend")
    with pytest.raises(InputError):
        execute(request(corpus, out, recipe=CopyRecipe(times=2), force=True), Silent())
    assert record.read(out) == old and (out / "corpus.jsonl").read_bytes() == corpus.read_bytes()
    fake.error = None
    assert execute(request(corpus, out), Silent()).up_to_date


def test_a_record_that_points_outside_is_refused(fake, corpus, tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("mine")
    execute(request(corpus, out), Silent())
    data = orjson.loads((out / "run.json").read_bytes())
    data["outputs"][0]["path"] = "../victim"
    (out / "run.json").write_bytes(orjson.dumps(data))
    with pytest.raises(InputError, match="not a run record"):
        execute(request(corpus, out, recipe=CopyRecipe(times=2), force=True), Silent())
    assert victim.read_text() == "mine"


def test_input_that_changes_while_it_is_read_is_no_result(fake, corpus, tmp_path, monkeypatch):
    run = fake.run

    def changed(*args):
        made = run(*args)
        corpus.write_text("cut")
        return made

    monkeypatch.setattr(fake, "run", changed)
    with pytest.raises(InputError, match="changed while it was read"):
        execute(request(corpus, tmp_path / "out"), Silent())
    assert not (tmp_path / "out" / "run.json").exists()


def test_an_output_within_its_input_is_refused(fake, corpus, tmp_path):
    with pytest.raises(UsageError, match="lies within the input"):
        execute(request(corpus.parent, corpus.parent / "o"), Silent())


def test_a_damaged_note_of_a_beginning_is_begun_anew(fake, corpus, tmp_path):
    out = tmp_path / "out"
    (out / ".ptft").mkdir(parents=True)
    (out / ".ptft" / "started.json").write_text("{")
    execute(request(corpus, out), Silent())
    assert (out / "run.json").exists()


def test_another_tools_run_json_beside_an_input_is_nothing(fake, corpus, tmp_path):
    (corpus.parent / "run.json").write_text('{"wandb": 1}')
    assert execute(request(corpus, tmp_path / "deep" / "out"), Silent()).record.inputs[0].run is None


def test_a_models_folder_is_hashed_whole_with_its_adapters_base(tmp_path):
    from ptft.core.inputs import _entries

    for name in ("base", "adapter", "adapter/inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        orjson.dumps({"base_model_name_or_path": str(tmp_path / "base")}).decode()
    )
    names = [entry.path.removeprefix(f"{tmp_path}/") for entry in _entries(tmp_path / "adapter", "model")]
    assert names == [
        "adapter/adapter_config.json",
        "adapter/inner/model.safetensors",
        "adapter/model.safetensors",
        "base/model.safetensors",
    ]
