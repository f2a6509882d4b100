"""The command line: help that costs nothing, one catch, exit codes, streams that pipe."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ptft import cli
from ptft.cli import STAGES

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "torchao",
    "sklearn",
    "evaluate",
    "pyarrow",
    "numpy",
    "datasketch",
)
COMMANDS = [*(stage.name.split() for stage in STAGES), ["generate"], ["show"], ["finetune"], []]


def ptft(*args: str, stdin: str | None = None, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ptft", *args], capture_output=True, text=True, input=stdin, cwd=cwd)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "text": f"row number {n}"}) + "\n" for n in range(20)))
    return path


def test_help_of_every_command_imports_nothing_heavy():
    """Judged by imports, not by the clock; all commands in one process, since an import sticks."""
    code = f"""
import sys
from ptft.cli import run
for command in {COMMANDS!r}:
    run([*command, "--help"])
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"Usage: ptft {' '.join(command)}".rstrip() in done.stdout for command in COMMANDS)


def test_it_says_which_ptft_it_is():
    done = ptft("--version")
    assert done.returncode == 0 and done.stdout.startswith("ptft 0.") and done.stderr == ""


def test_an_unknown_option_is_one_line_with_a_hint():
    done = ptft("clean", "--vocab", "3")
    assert done.returncode == 2 and done.stdout == ""
    assert "No such option: --vocab" in done.stderr and "--help" in done.stderr and "Traceback" not in done.stderr


def test_three_recipe_mistakes_exit_2_and_are_all_listed(corpus, tmp_path):
    done = ptft(
        "split", str(corpus), "-o", str(tmp_path / "o"), "--val", "two", "--set", "tset=0.1", "--set", "seed=-1"
    )
    assert done.returncode == 2
    for part in ("3 problems", "val = 'two'", "unknown knob 'tset'", "did you mean 'test'", "seed = -1"):
        assert part in done.stderr
    assert not (tmp_path / "o").exists()


def test_missing_input_and_missing_output_name_the_shape():
    assert "split INPUT... -o DIR" in ptft("split").stderr
    done = ptft("split", "x.jsonl")
    assert done.returncode == 2 and "-o DIR" in done.stderr


def test_a_missing_file_is_bad_input(tmp_path):
    done = ptft("split", "nowhere.jsonl", "-o", str(tmp_path / "o"))
    assert done.returncode == 3 and "nowhere.jsonl: no such file" in done.stderr
    assert not (tmp_path / "o").exists()


def test_stdout_is_the_folder_or_the_record_and_stderr_the_rest(corpus, tmp_path):
    out = tmp_path / "o"
    done = ptft("split", str(corpus), "-o", str(out))
    assert done.returncode == 0 and done.stdout == f"{out}\n"
    assert "\x1b" not in done.stderr  # plain where it is no terminal
    again = ptft("split", str(corpus), "-o", str(out), "--json")
    assert "up to date" in again.stderr
    assert json.loads(again.stdout)["counts"]["train"] == 16


def test_quiet_says_nothing_when_all_is_well(corpus, tmp_path):
    done = ptft("split", str(corpus), "-o", str(tmp_path / "o"), "-q")
    assert done.stderr == ""


def test_standard_input_is_jsonl(corpus, tmp_path):
    done = ptft("split", "-", "-o", str(tmp_path / "o"), stdin=corpus.read_text())
    assert done.returncode == 0
    first = json.loads((tmp_path / "o" / "train.jsonl").read_text().splitlines()[0])
    assert first["text"].startswith("row number")


def test_piping_into_head_breaks_nothing(corpus, tmp_path):
    command = f"{sys.executable} -m ptft split {corpus} -o {tmp_path / 'o'} --json | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.split() == ["{", "0"] and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_dry_run_of_json_is_json(corpus, tmp_path):
    done = ptft("split", str(corpus), "-o", str(tmp_path / "o"), "--dry-run", "--json")
    assert done.returncode == 0 and isinstance(json.loads(done.stdout), dict)
    assert not (tmp_path / "o").exists()


def test_knobs_lists_every_knob():
    done = ptft("clean", "--knobs")
    assert "gopher_quality.min_words = 50" in done.stdout and "max_bad_rows = 0.01" in done.stdout


def test_a_bug_is_said_to_be_one(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("ptft.stages.show.run.described", broken)
    assert cli.run(["show", "."]) == 1
    shown = capsys.readouterr().err
    assert "a bug in ptft: ZeroDivisionError" in shown and "--debug" in shown and "Traceback" not in shown
    with pytest.raises(ZeroDivisionError):
        cli.run(["show", ".", "--debug"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "f"), 4),
        (OSError("604295 requested and 209920 written"), 4),
        (BrokenPipeError(), 0),
    ],
)
def test_what_is_caught_has_its_code(monkeypatch, capfd, error, code):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr("ptft.stages.show.run.described", broken)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert cli.run(["show", "."]) == code


def test_a_full_disk_is_clear_and_leaves_no_result(corpus, tmp_path):
    """/dev/full stands for the disk: the state folder's file system refuses every byte."""
    code = f"""
import sys, ptft.core.files as files, ptft.cli as cli, errno, ptft.core.rows as rows
def full(self, lines):
    raise OSError(errno.ENOSPC, "No space left on device", "train.jsonl")
rows.RowWriter.write = rows.RowWriter.write_bytes = full
sys.exit(cli.run(["split", {str(corpus)!r}, "-o", {str(tmp_path / "o")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "the disk is full" in done.stderr and "goes on" in done.stderr
    assert not (tmp_path / "o" / "run.json").exists()
    assert ptft("split", str(corpus), "-o", str(tmp_path / "o")).returncode == 0


def test_show_describes_and_lines_up(corpus, tmp_path):
    for name, seed in (("a", "1"), ("b", "2")):
        ptft("split", str(corpus), "-o", str(tmp_path / name), "--seed", seed)
    one = ptft("show", str(tmp_path / "a"))
    assert "in.jsonl" in one.stderr and "ptft split" in one.stderr
    both = ptft("show", str(tmp_path / "a"), str(tmp_path / "b"))
    assert both.returncode == 0 and "largest_cluster" in both.stderr
    assert ptft("show", str(tmp_path / "none")).returncode == 3
