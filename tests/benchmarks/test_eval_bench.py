"""The benchmark of evaluation asks what it says, reads both tools' results into one form, and compares all of it."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """A module of benchmarks/, which finds its neighbours as when it is run."""
    before = set(sys.modules)
    monkeypatch.delitem(sys.modules, "finetuning", raising=False)  # the helper of other tests has that name too
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# ---------------------------------------------------------------- rows


def _chat(question: str, reply: str, lang: str = "en") -> dict:
    return {"lang": lang, "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


def test_a_reply_stands_once_among_others_and_its_number_is_the_answer(module: Module) -> None:
    pairs = [(f"question {n}", f"reply {n % 25}") for n in range(30)]
    rows = module("evaluating.data")._replies(pairs, seed=4)
    assert {row["question"] for row in rows} == {question for question, _ in pairs}
    assert all(len(set(row["choices"])) == 4 for row in rows)
    assert all(row["choices"][row["answer"]] == row["reply"] == dict(pairs)[row["question"]] for row in rows)
    assert len({row["answer"] for row in rows}) == 4


def test_a_question_is_asked_once_and_in_its_language(module: Module) -> None:
    chats = [_chat("a", "b"), _chat("a", "c"), _chat("你好", "好", "zh"), _chat("d", "e" * 500), _chat("f", " \n g ")]
    assert module("evaluating.data")._pairs(chats, "en") == [("a", "b"), ("f", "g")]
    assert module("evaluating.data")._pairs(chats, "zh") == [("你好", "好")]


def test_solved_examples_are_never_asked_and_topics_take_turns(module: Module) -> None:
    data = module("evaluating.data")
    news = [{"id": f"{topic}/{n}", "text": "word " * 90, "label": topic} for topic in data.TOPICS for n in range(20)]
    asked, shown = data._split(data._topics(news, 1), 50)
    assert len(asked) == 50 and len(shown) == data.POOL
    assert not {row["id"] for row in asked} & {row["id"] for row in shown}
    assert [row["answer"] for row in asked[:5]] == [0, 1, 2, 3, 4]
    assert all(len(row["text"].split()) == data.OPENING and row["topic"] in row["id"] for row in asked)


# ---------------------------------------------------------------- tasks


def test_every_task_names_files_that_hold_its_splits(module: Module, tmp_path: Path) -> None:
    tasks = module("evaluating.tasks")
    tasks.write(tmp_path, tmp_path)
    yaml = importlib.import_module("yaml")
    assert len(list((tmp_path / "harness").iterdir())) == len(tasks.TASKS) == len({task.name for task in tasks.TASKS})
    for task in tasks.TASKS:
        assert (tmp_path / "own" / f"{task.name}.yaml").exists() == ("num_fewshot" not in task.harness)
        read = yaml.safe_load((tmp_path / "harness" / f"{task.name}.yaml").read_text(encoding="utf-8"))
        files = read["dataset_kwargs"]["data_files"]
        assert files[read["test_split"]] == str(tmp_path / f"{task.rows}.jsonl")
        assert read.get("fewshot_split", "test") in files
        assert [metric["metric"] for metric in read["metric_list"]] == list(tasks.METRICS[read["output_type"]])


def test_ptft_reads_both_forms_of_a_task_as_the_same_questions(module: Module, tmp_path: Path) -> None:
    from ptft.stages.eval.task.file import read
    from ptft.stages.eval.task.model import example_of

    tasks = module("evaluating.tasks")
    tasks.write(tmp_path, tmp_path)
    row = {
        "text": "Ads sell.", "answer": 1, "about": tasks.ABOUT["sports"], "question": "Why?", "choices": ["a", "b", "c"],
    }  # fmt: skip
    for own in (tmp_path / "own").iterdir():
        one, other = (example_of(read(file), row) for file in (own, tmp_path / "harness" / own.name))
        assert (one.question, one.continuations, one.answers) == (other.question, other.continuations, other.answers)


# ---------------------------------------------------------------- results


def test_both_tools_results_come_in_one_form(module: Module, tmp_path: Path) -> None:
    runs, tasks = module("evaluating.runs"), module("evaluating.tasks")
    task = next(task for task in tasks.TASKS if task.name == "about")
    theirs, ours = tmp_path / "theirs" / "some_model", tmp_path / "ours"
    theirs.mkdir(parents=True)
    ours.mkdir()
    found = {
        "alias": "about",
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "acc_norm,none": 0.25,
        "acc_norm_stderr,none": "N/A",
    }
    (theirs / "results_2026.json").write_text(json.dumps({"results": {"about": found}}))
    sample = {
        "doc": {"id": "a"}, "arguments": {"gen_args_0": {"arg_0": "Why?", "arg_1": " x"}},
        "filtered_resps": [["-1.5", "False"], ["-2.25", "True"]],
    }  # fmt: skip
    (theirs / "samples_about_2026.jsonl").write_text(json.dumps(sample) + "\n")
    metrics = {"acc": {"score": 0.5, "ci95": None}, "acc_norm": {"score": 0.25, "ci95": None}}
    (ours / "scores.json").write_text(json.dumps({"metrics": metrics}))
    row = {"id": "a", "input": "Why?", "loglikelihoods": [-1.5, -2.25], "lengths": [1, 2], "answer": 0}
    (ours / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    expected = runs.Scored({"acc": 0.5, "acc_norm": 0.25}, {"a": runs.Row("Why?", (-1.5, -2.25))})
    assert runs.harness_scored(theirs.parent, task) == runs.ptft_scored(ours, task) == expected


def test_texts_and_answers_are_read_too(module: Module) -> None:
    runs, tasks = module("evaluating.runs"), module("evaluating.tasks")
    sample = {"arguments": {"gen_args_0": {"arg_0": "p"}}, "filtered_resps": ["-12.5"]}
    assert runs._harness_row(sample, tasks.TEXT) == runs._ptft_row({"input": "p", "nll": 12.5}, tasks.TEXT)
    sample["filtered_resps"] = ["好"]
    assert runs._harness_row(sample, tasks.ANSWER) == runs._ptft_row({"input": "p", "prediction": "好"}, tasks.ANSWER)


def test_what_differs_is_found(module: Module) -> None:
    runs, compare = module("evaluating.runs"), module("evaluating.agreement").compare
    row, same = runs.Row("shots, then p", (-1.0, -2.0)), runs.Row("then p", (-1.0, -2.5))
    theirs = runs.Scored({}, {"a": row, "b": row})
    assert compare(theirs, theirs).rows == 0 and compare(theirs, theirs).questions == 0
    apart = compare(theirs, runs.Scored({}, {"a": same, "b": runs.Row("other", (-1.0, -2.0))}))
    assert (apart.questions, apart.rows) == (1, 0.5)
    assert math.isinf(compare(theirs, runs.Scored({}, {"a": row})).rows)
    spoken = runs.Scored({}, {"a": runs.Row("p", wrote="yes"), "b": runs.Row("p", wrote="no")})
    assert compare(spoken, runs.Scored({}, {"a": runs.Row("p", wrote="yes"), "b": runs.Row("p", wrote="")})).rows == 1


# ---------------------------------------------------------------- speed


def test_ptft_is_compared_with_the_fastest_of_the_others(module: Module) -> None:
    speed, runs = module("evaluating.speed"), module("evaluating.runs")
    entries = [
        speed.Entry(tool, lambda: None, [runs.Timed(seconds, 2 * seconds, busy, 3 * busy, 10, 1000)])
        for tool, seconds, busy in (("one", 30.0, 20.0), ("two", 24.0, 14.0), ("ptft", 16.0, 10.0))
    ]
    lines = speed.lines_of("m", "t", 50, entries)
    column = dict(zip(speed.HEAD, zip(*lines, strict=True), strict=True))
    assert column["rows/s"] == ("2.50", "3.57", "5.00")
    assert column["faster than lm-eval"] == ("", "", "1.40x") and column["faster"] == ("", "", "1.50x")
    assert column["processor s"] == ("60.0", "42.0", "30.0") and column["processor s, whole"] == (
        "60.0",
        "48.0",
        "32.0",
    )


def test_what_fails_is_said_and_does_not_count(module: Module) -> None:
    speed, runs = module("evaluating.speed"), module("evaluating.runs")

    def broken() -> None:
        raise RuntimeError("ended with 3:\nerror: no such task\n  try: another")

    failed = speed.Entry("one", broken)
    failed.turn()
    timed = runs.Timed(5.0, 5.0, 2.0, 2.0, 10, 1000)
    lines = speed.lines_of(
        "m", "t", 50, [failed, speed.Entry("two", lambda: timed, [timed]), speed.Entry("ptft", lambda: timed, [timed])]
    )
    assert lines[0][4] == "failed: error: no such task" and lines[2][5] == "1.00x"
    assert all(len(line) == len(speed.HEAD) for line in lines)


def test_the_clock_counts_tokens_and_passes_of_any_module(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(
        "import sys, time, torch\n"
        "assert sys.argv[1:] == ['--batch', '2']\n"
        "words, small = torch.nn.Embedding(100, 4), torch.nn.Embedding(10, 4)\n"
        "for _ in range(3): words(torch.zeros(2, 7, dtype=torch.long)); small(torch.zeros(2, 7, dtype=torch.long)); time.sleep(0.05)\n"
    )
    marks = tmp_path / "marks.json"
    clock = FOLDER / "eval_peers" / "clocked.py"
    subprocess.run([sys.executable, str(clock), str(marks), "100", "-m", "reader", "--batch", "2"], cwd=tmp_path, check=True,
                   env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"})  # fmt: skip
    found = json.loads(marks.read_text())
    assert (found["tokens"], found["passes"], found["threads"]) == (42, 3, 1)
    assert 0.1 <= found["last"] - found["first"] < 5
    assert found["cpu_last"] - found["cpu_first"] < found["last"] - found["first"]  # it slept
