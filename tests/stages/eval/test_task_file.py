"""Our task files: every key is read, every mistake is told at once, and the ready ones ask what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.knobs import Decoding
from ptft.core.models import Loaded, load
from ptft.core.rows import Row
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.asking import Asking
from ptft.stages.eval.task.file import PROBES, inputs_of, read
from ptft.stages.eval.task.model import example_of
from ptft.stages.eval.task.template import Field, Unfit

READY = Path(__file__).parents[3] / "recipes" / "tasks"
CHAT = [
    {"id": str(number), "lang": lang, "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
    for number, (lang, asked, said) in enumerate([
        ("en", "What is AI?", "A branch of engineering."), ("en", "Who are you?", "A program."), ("en", "How old?", "New."),
        ("en", "Why?", "Because."), ("zh", "什么是人工智能？", "工程学的分支。"), ("zh", "你是谁？", "一个程序。"),
        ("zh", "你多大？", "很新。"), ("zh", "为什么？", "因为。"),
    ])
]  # fmt: skip
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "bbc-topics": [{"id": "1", "text": "Shares rose", "label": "business"}],
    "bbc-topics-4-shots": [
        {"id": str(number), "text": f"Story {number}", "label": label}
        for number, label in enumerate(["business", "tech", "sports", "politics", "entertainment"])
    ],
    "headlines": [{"id": "1", "source": "Shares rose after the report.", "target": "Shares up"}],
    "chat-reply": CHAT,
    "chat-reply-template": CHAT,
    "help-en-zh": [{"id": str(number), "source": f"Open {number}", "target": f"打开{number}"} for number in range(4)],
    "perplexity": [{"id": "1", "text": "今天天气很好"}],
}
ASKED = {
    "bbc-topics": "Article: Shares rose\nTopic:",
    "headlines": "Shares rose after the report.\n\nHeadline:",
    "chat-reply": "What is AI?\n",
    "perplexity": "",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("task") / "model"))


def _task(folder: Path, text: str) -> Path:
    file = folder / "some.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_ready_tasks_are_those_that_are_tried() -> None:
    assert {file.stem for file in READY.glob("*.yaml")} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_ready_tasks_ask(name: str, model: Loaded) -> None:
    task = read(READY / f"{name}.yaml")
    rows = [Row(data, "rows.jsonl", line) for line, data in enumerate(SAMPLES[name], 1)]
    asking = Asking.of(model, task, EvalRecipe(), rows)
    assert [asking.problem(row) for row in rows] == [None] * len(rows)
    example = asking.example(rows[0])
    (asked,) = asking.asked(rows[0], example)
    assert task.name == name and task.metrics
    if name in ASKED:
        assert asked == ASKED[name]
    if task.kind == "choices":
        assert len(example.choices) >= 4 and example.choices[example.answers[0]] == example.solution


def test_few_shots_are_other_rows_and_the_same_for_all(model: Loaded) -> None:
    rows = [Row(data, "rows.jsonl", line) for line, data in enumerate(SAMPLES["bbc-topics-4-shots"], 1)]
    asking = Asking.of(model, read(READY / "bbc-topics-4-shots.yaml"), EvalRecipe(shots=2), rows)
    questions = [[shot.question for shot in asking.shots.of(row)] for row in rows]
    for row, shots in zip(rows, questions, strict=True):
        assert len(set(shots)) == 2 and not any(row.data["text"] in shot for shot in shots)
    assert len({tuple(shots) for shots in questions}) <= 3  # the first two, but for the rows that are those
    assert questions == [
        [s.question for s in Asking.of(model, asking.task, EvalRecipe(shots=2), rows).shots.of(row)] for row in rows
    ]
    other = Asking.of(model, asking.task, EvalRecipe(shots=2, seed=5), rows)
    assert questions != [[shot.question for shot in other.shots.of(row)] for row in rows]
    text = asking.asked(rows[0], asking.example(rows[0]))[0]
    solved = asking.shots.of(rows[0])
    wanted = "".join(f"{shot.question} {shot.solution}\n\n" for shot in solved)
    assert (
        text
        == f"Each article is about one topic: business, entertainment, politics, sports or tech.\n\n{wanted}Article: Story 0\nTopic:"
    )


def test_a_copy_of_a_row_is_not_its_example(model: Loaded) -> None:
    data = [*SAMPLES["bbc-topics-4-shots"], {"id": "copy", "text": "Story 0", "label": "business"}]
    rows = [Row(item, "rows.jsonl", line) for line, item in enumerate(data, 1)]
    asking = Asking.of(model, read(READY / "bbc-topics-4-shots.yaml"), EvalRecipe(), rows)
    assert all("Story 0" not in shot.question for shot in asking.shots.of(rows[0]))


def test_distractors_are_answers_of_the_same_language_in_any_order_of_rows(model: Loaded) -> None:
    task = read(READY / "chat-reply.yaml")
    rows = [Row(data, "rows.jsonl", line) for line, data in enumerate(CHAT, 1)]
    asking = Asking.of(model, task, EvalRecipe(), rows)
    for row in rows:
        example = asking.example(row)
        known = {item["messages"][-1]["content"] for item in CHAT if item["lang"] == row.data["lang"]}
        assert set(example.choices) == known and len(example.choices) == 4
        assert example.choices[example.answers[0]] == row.data["messages"][-1]["content"]
    assert len({asking.example(row).answers for row in rows}) > 1  # the right one is not always at one place
    few = Asking.of(model, task, EvalRecipe(), rows[:3])
    assert few.problem(rows[0]) == "2 other answers, where 3 are to be drawn"


def test_a_chat_asks_in_turns(model: Loaded) -> None:
    task = read(READY / "bbc-topics-4-shots.yaml")
    rows = [Row(data, "rows.jsonl", line) for line, data in enumerate(SAMPLES["bbc-topics-4-shots"], 1)]
    asking = Asking.of(model, task, EvalRecipe(shots=1, chat="yes"), rows)
    example = asking.example(rows[0])
    (messages,) = asking.asked(rows[0], example)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert example.continuations == example.choices
    ((context, answer),) = asking.pairs([messages], [example.continuations[0]])
    assert model.tokenizer.decode(context).endswith("<|im_start|>assistant\n")
    assert model.tokenizer.decode(answer) == "business"


def test_what_a_user_wrote_makes_no_special_token(model: Loaded, tmp_path: Path) -> None:
    task = read(_task(tmp_path, "kind: choices\ntemplate: '{{text}}'\nchoices: [a, b]\nanswer: '{{label}}'\n"))
    asking = Asking.of(model, task, EvalRecipe(), ())
    ((context, _),) = asking.pairs(["a <|im_end|> b"], [" a"])
    assert model.tokenizer.convert_tokens_to_ids("<|im_end|>") not in context


WRONG = {
    "kind: choice\ntemplate: '{{text}}'\n": ["did you mean 'choices'?"],
    "kind: generate\ntemplat: x\nshots: 2\n": ["did you mean 'template'?", "target: a task of generate needs it", "template: a task", "shots_from"],
    "kind: choices\ntemplate: '{{text'\nanswer: a\n": ["not a valid template", "choices: a task of choices needs choices, or distractors"],
    "kind: choices\ntemplate: a\nanswer: b\nchoices: [a]\ndistractors: 2\n": ["needs choices, or distractors"],
    "kind: generate\ntemplate: a\ntarget: b\nshots: -1\nmax_new_tokens: 0\nmetrics: [f2]\n": ["shots: must be at least 0", "max_new_tokens", "no metric 'f2'"],
    "kind: generate\ntemplate: a\ntarget: b\nshots: many\n": ["shots: "],
    "[1, 2]": ["mapping"],
    "kind: [": ["not valid YAML"],
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_all_that_is_wrong_is_told_at_once(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        inputs_of(str(_task(tmp_path, text)))
    assert raised.value.remedy and "some.yaml" in str(raised.value)
    for part in WRONG[text]:
        assert part in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        inputs_of(str(tmp_path / "none.yaml"))


def test_inputs_are_beside_the_task(tmp_path: Path) -> None:
    text = "kind: generate\ntemplate: '{{a}}'\ntarget: '{{b}}'\ndata: [x.jsonl, hf:some/set]\nshots: 1\nshots_from: ../y.jsonl\n"
    found = inputs_of(str(_task(tmp_path, text)))
    assert found == {"data": (str(tmp_path / "x.jsonl"), "hf:some/set"), "shots": (str(tmp_path / "../y.jsonl"),)}
    own = inputs_of(str(_task(tmp_path, text.replace("../y.jsonl", "data"))))
    assert "shots" not in own and read(tmp_path / "some.yaml").shots_are_data


@pytest.mark.parametrize("kind", PROBES)
def test_a_probe_names_no_files(kind: str, tmp_path: Path) -> None:
    assert inputs_of(str(_task(tmp_path, f"kind: {kind}\n"))) == {}


def test_the_command_goes_before_the_task(tmp_path: Path) -> None:
    text = "kind: generate\ntemplate: a\ntarget: b\nstop: ['。']\nmax_new_tokens: 9\n"
    task = read(_task(tmp_path, text))
    assert task.decoding(Decoding()) == Decoding(stop=("。",), max_new_tokens=9)
    assert task.decoding(Decoding(max_new_tokens=3, beams=2)) == Decoding(stop=("。",), max_new_tokens=3, beams=2)


def test_the_hash_is_of_what_is_asked(tmp_path: Path) -> None:
    text = "task: a\nkind: generate\ntemplate: '{{q}}'\ntarget: b\n"
    first = read(_task(tmp_path, text)).hash
    assert read(_task(tmp_path, text.replace("task: a", "task: b") + "data: x.jsonl\n")).hash == first
    assert read(_task(tmp_path, text.replace("{{q}}", "{{q}} "))).hash != first


def test_reading_a_task_imports_nothing_heavy() -> None:
    code = "import sys, ptft.stages.eval.task.file as f; f.inputs_of(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(READY / "headlines.yaml")], capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "numpy"} & set(done.stdout.split())


# ---------------------------------------------------------------- rows that do not fit

CHOICES = "kind: choices\ntemplate: '{{q}}'\nchoices: options\nanswer: right\n"
UNFIT = [
    ({"options": ["a", "b"], "right": 0}, "'q' is undefined; the row has 'options', 'right'"),
    ({"q": "x", "options": ["a", "b"]}, "no field 'right'; the row has 'q', 'options'"),
    ({"q": "x", "options": ["a", "b"], "right": "c"}, "the answer 'c' is none of the choices 'a', 'b'"),
    ({"q": "x", "options": ["a", "b"], "right": 2}, "the answer '2' is none of the choices"),
    ({"q": "x", "options": ["a", "b"], "right": -1}, "the answer '-1' is none of the choices"),
    ({"q": "x", "options": ["a", "b"], "right": True}, "the answer 'True' is none of the choices"),
    ({"q": "x", "options": ["a", "b"], "right": []}, "no right answer"),
    ({"q": "x", "options": [], "right": 0}, "0 choices, where a ranking needs two"),
    ({"q": "x", "options": ["a", ""], "right": 0}, "an empty choice"),
    ({"q": "x", "options": ["a", "a"], "right": 0}, "two choices are equal"),
    ({"q": "x", "options": 3, "right": 0}, "is int, not a list"),
    ({"q": "x", "options": "a, b", "right": 0}, "is not a list"),
]


@pytest.mark.parametrize(("data", "reason"), UNFIT, ids=lambda value: value if isinstance(value, str) else "")
def test_rows_that_do_not_fit_are_told_why(data: dict[str, Any], reason: str, model: Loaded, tmp_path: Path) -> None:
    task = read(_task(tmp_path, CHOICES))
    with pytest.raises(Unfit) as raised:
        example_of(task, data)
    assert reason in str(raised.value)
    assert reason in (Asking.of(model, task, EvalRecipe(), ()).problem(Row({"id": "1", **data}, "rows.jsonl", 1)) or "")


@pytest.mark.parametrize(("right", "wanted"), [(1, (1,)), ("1", (1,)), ("b", (1,)), (["a", 1], (0, 1))])
def test_the_right_choice_is_a_number_or_a_text(right: Any, wanted: tuple[int, ...], tmp_path: Path) -> None:
    task = read(_task(tmp_path, CHOICES))
    assert example_of(task, {"q": "x", "options": ["a", "b"], "right": right}).answers == wanted


def test_a_choice_that_looks_like_a_number_is_a_text_first(tmp_path: Path) -> None:
    task = read(_task(tmp_path, CHOICES))
    assert example_of(task, {"q": "x", "options": ["2", "1"], "right": "1"}).answers == (1,)


def test_a_template_cannot_reach_out() -> None:
    with pytest.raises(Unfit, match="unsafe"):
        Field("{{ ''.__class__.__mro__ }}").text({})


def test_too_few_examples_are_refused_before_any_row(model: Loaded, tmp_path: Path) -> None:
    rows = [Row({"id": str(n), "q": "x", "options": ["a", "b"], "right": 0}, "rows.jsonl", n) for n in (1, 2)]
    task = read(_task(tmp_path, CHOICES + "shots: 2\nshots_from: data\n"))
    with pytest.raises(InputError, match="2 solved examples are asked for"):
        Asking.of(model, task, EvalRecipe(), rows)
    asking = Asking.of(model, task, EvalRecipe(shots=1), rows)
    assert (
        asking.problem(rows[0]) == "0 solved examples beside the row itself, where 1 are asked for"
    )  # the other is a copy
