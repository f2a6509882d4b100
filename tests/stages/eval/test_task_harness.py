"""Task files of lm-evaluation-harness come out as it has them.

The numbers are those of lm-evaluation-harness 0.4.13 (`lm_eval run --model hf --model_args pretrained=...,dtype=float32,max_length=40
--log_samples`) on `tiny.causal` and these rows: log-likelihoods of every choice, of a text where the task is rolling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tiny

from ptft.core.errors import InputError
from ptft.core.files import expand
from ptft.core.formats import read_rows
from ptft.core.metrics.kinds import measures
from ptft.core.models import Loaded, load
from ptft.core.rows import Row
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.file import inputs_of, read
from ptft.stages.eval.task.model import example_of
from ptft.stages.eval.task.prompts import TaskPrompts
from ptft.stages.eval.ways.choices import Choices
from ptft.stages.eval.ways.language import Language

ROWS = [
    {"q": "The quick brown fox", "options": ["jumps over", "learns from text", "rose after"], "right": 0},
    {"q": "今天天气很好，", "options": ["我们去公园散步吧。", "赢得了比赛。", "机器学习"], "right": 0},
    {"q": "Shares rose ", "options": ["after the company", "sport", "the lazy dog."], "right": 0},
    {"q": "球队在最后一分钟", "options": ["学习", "进球", "公园散步"], "right": 1},
    {"q": "A model learns", "options": ["from text.", "over the dog", "from text. A model"], "right": 2},
    {"q": "A model learns", "options": ["from text.", "over the dog", "from text. A model"], "right": 2},
]
DATA = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
ASKED = """output_type: multiple_choice
doc_to_text: "Q: {{q}}\\nA:"
doc_to_choice: options
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
TASKS = {
    "zero": ASKED,
    "two": ASKED + 'num_fewshot: 2\nfewshot_split: test\ndescription: "Go on.\\n\\n"\n',
    "first": ASKED + "num_fewshot: 1\nfewshot_split: test\nfewshot_config: {sampler: first_n}\n",
    "spaced": """output_type: multiple_choice
doc_to_text: q
doc_to_choice: "{{options}}"
doc_to_target: "{{right}}"
target_delimiter: ""
""",
    "alone": 'output_type: multiple_choice\ndoc_to_text: ""\ndoc_to_choice: options\ndoc_to_target: "{{options[right]}}"\n',
    "blanks": "output_type: multiple_choice\ndoc_to_text: right\ndoc_to_choice: options\ndoc_to_target: q\n",
    "ends": """output_type: loglikelihood
doc_to_text: "{{q}}"
doc_to_target: " {{options[right]}}"
metric_list: [{metric: acc}, {metric: perplexity}]
""",
    "rolling": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{q}} {{options|join(' ')}}"
metric_list: [{metric: bits_per_byte}]
""",
}
THEIRS: dict[str, Any] = {
    "zero": [[-24.7776, -35.1706, -24.1404], [-65.1827, -35.7584, -18.4253], [-37.0106, -22.7567, -41.6921],
             [-12.1867, -18.1579, -48.1731], [-24.4093, -30.8006, -49.3106], [-24.4093, -30.8006, -49.3106]],
    "two": [[-24.9337, -35.3038, -24.1256], [-66.7636, -35.8285, -18.3557], [-36.8797, -22.5359, -41.7146],
            [-12.4605, -18.3302, -47.7657], [-24.7244, -30.6297, -50.9035], [-24.926, -30.3411, -50.7568]],
    "first": [[-24.498, -35.7771, -24.1242], [-65.1364, -35.9991, -18.5445], [-36.9618, -22.7588, -41.622],
              [-12.5317, -18.41, -48.0721], [-24.8397, -30.4079, -50.5966], [-24.8397, -30.4079, -50.5966]],
    "spaced": [[-23.9669, -35.2327, -24.442], [-59.0911, -30.3442, -11.8374], [-36.4124, -22.0062, -41.759],
               [-5.7451, -6.2835, -42.6586], [-29.9749, -30.4877, -53.9686], [-29.9749, -30.4877, -53.9686]],
    "alone": [[-25.0932, -34.9042, -24.6749], [-64.4047, -35.1069, -18.0723], [-36.5793, -22.4257, -41.4826],
              [-12.2319, -17.4621, -48.1714], [-23.8219, -30.6919, -49.1332], [-23.8219, -30.6919, -49.1332]],
    "blanks": [[-42.3714, -43.5306, -41.5516], [-30.4866, -30.1181, -29.4116], [-36.3679, -35.9243, -35.2788],
               [-60.1128, -58.5035, -60.4471], [-41.5499, -41.703, -41.4582], [-41.5499, -41.703, -41.4582]],
    "ends": [-24.2226, -65.104, -41.8787, -18.0231, -47.5595, -47.5595],
    "rolling": [-119.4457, -143.2424, -130.7603, -133.3199, -145.04, -145.04],
}  # fmt: skip
IN_A_CHAT = [
    [-30.5124, -42.0864, -29.4998],
    [-66.0418, -35.0298, -17.9424],
    [-42.4309, -22.8643, -53.6924],
    [-11.9073, -18.2057, -47.5984],
    [-36.6442, -35.1462, -62.081],
    [-36.5518, -35.4564, -62.0797],
]  # of "two", with --apply_chat_template and max_length=60
IN_WINDOWS = [-118.5102, -143.045, -130.4314, -131.7744, -144.5858, -144.5858]  # of "rolling", with max_length=8
SCORES = {
    "zero": {"acc": 0.0, "acc_norm": 1 / 6}, "two": {"acc": 0.0, "acc_norm": 1 / 6}, "first": {"acc": 0.0, "acc_norm": 1 / 6},
    "spaced": {"acc": 1 / 6, "acc_norm": 1 / 6}, "alone": {"acc": 0.0, "acc_norm": 1 / 6}, "blanks": {"acc": 0.5},
    "ends": {"acc": 0.0}, "rolling": {"bits_per_byte": 3.3289919251661977},
}  # fmt: skip
SHOTS = {  # questions of the solved examples that it drew for each row
    "two": [[3, 4], [0, 4], [4, 0], [2, 1], [0, 2], [3, 0]],
    "first": [[1], [0], [0], [0], [0], [0]],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny.causal(tmp_path_factory.mktemp("harness") / "model"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{DATA}{text}", encoding="utf-8")
    return tmp_path


def _way(model: Loaded, file: Path, context: int = 40, **knobs: Any) -> tuple[Any, list[Row]]:
    task = read(file)
    rows = [row for row in read_rows(expand(inputs_of(str(file))["data"])) if isinstance(row, Row)]
    recipe = EvalRecipe(max_seq_len=context, **knobs)
    if task.kind == "likelihood":
        return Language(model, recipe, task), rows
    return Choices(model, task, recipe, rows if task.needs_data else ()), rows


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [0, 1, 8])
def test_numbers_are_the_harnesss(name: str, size: int, model: Loaded, folder: Path) -> None:
    way, rows = _way(model, folder / f"{name}.yaml", batch_size=size)
    assert [way.problem(row) for row in rows] == [None] * len(rows)
    found = [prediction for start in (0, 4) for prediction in way.predict(rows[start : start + 4])]
    key = "nll" if name == "rolling" else "loglikelihoods"
    numbers = [-row[key] if name == "rolling" else row[key][0] if name == "ends" else row[key] for row in found]
    np.testing.assert_allclose(numbers, THEIRS[name], atol=1e-4)
    scores = {measure.name: measure.score() for measure in measures(way.kind, found, list(SCORES[name]))}
    assert scores == pytest.approx(SCORES[name], abs=1e-6)


@pytest.mark.parametrize("name", SHOTS)
def test_solved_examples_are_those_that_the_harness_draws(name: str, model: Loaded, folder: Path) -> None:
    way, rows = _way(model, folder / f"{name}.yaml")
    backwards = [[shot.question for shot in way.asking.shots.of(row)] for row in reversed(rows)]
    assert backwards[::-1] == [[f"Q: {ROWS[index]['q']}\nA:" for index in shots] for shots in SHOTS[name]]


def test_a_target_may_be_scored_by_its_likelihood(model: Loaded, folder: Path) -> None:
    file = folder / "ends.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("{metric: acc}, ", ""), encoding="utf-8")
    way, rows = _way(model, file)
    found = way.predict(rows)
    (measure,) = measures(way.kind, found, ["perplexity"])
    # "perplexity" of its results: exp of the mean of each target's nats
    assert measure.score() == pytest.approx(4.8578457737964806e17, rel=1e-4)


def test_answers_that_are_written(model: Loaded, folder: Path) -> None:
    text = """output_type: generate_until
doc_to_text: "Q: {{q}}\\nA:"
doc_to_target: "{{options[right]}}"
num_fewshot: 1
fewshot_config: {sampler: first_n, samples: [{q: one, options: [two], right: 0}]}
generation_kwargs: {until: ["\\n"], max_gen_toks: 5, do_sample: false, temperature: 0.7}
filter_list: [{name: strip, filter: [{function: remove_whitespace}, {function: take_first}]}]
metric_list: [{metric: exact_match}, {metric: pass_at_k}]
"""
    file = folder / "said.yaml"
    file.write_text(f"task: said\n{DATA}{text}", encoding="utf-8")
    task = read(file)
    assert (task.stop, task.max_new_tokens, task.temperature, task.trims) == (("\n",), 5, 0.0, True)
    assert task.metrics == ("exact_match",) and any("pass_at_k" in note for note in task.notes)
    prompts = TaskPrompts.of_task(model, task, EvalRecipe(), ())
    row = Row({"id": "1", **ROWS[0]}, "rows.jsonl", 1)
    assert prompts.problem(row) is None
    asked, reference = prompts.parts(row)
    assert asked == "Q: one\nA: two\n\nQ: The quick brown fox\nA:" and reference == "jumps over"
    (ids,), (lost,) = prompts.prompts([asked], 10)
    whole = model.tokenizer(asked)["input_ids"]
    assert (ids, lost) == (whole[-10:], len(whole) - 10)
    (response,) = prompts.responses([asked], [reference])
    assert model.tokenizer.decode(response.ids[response.first :]) == " jumps over"


def test_numbers_in_a_chat_are_the_harnesss(model: Loaded, folder: Path) -> None:
    way, rows = _way(model, folder / "two.yaml", chat="yes", context=60)
    np.testing.assert_allclose([row["loglikelihoods"] for row in way.predict(rows)], IN_A_CHAT, atol=1e-4)


def test_windows_are_the_harnesss(model: Loaded, folder: Path) -> None:
    """They do not overlap, but for the last, which sees as much as fits."""
    way, rows = _way(model, folder / "rolling.yaml", context=8)
    np.testing.assert_allclose([-row["nll"] for row in way.predict(rows)], IN_WINDOWS, atol=1e-4)


def test_in_a_chat_the_harness_tokenizes_text(model: Loaded, folder: Path) -> None:
    """The line break that the template ends with goes to the answer: one text is tokenized, and cut before it."""
    way, rows = _way(model, folder / "first.yaml", chat="yes")
    example = way.asking.example(rows[0])
    assert example.continuations == ("jumps over", "learns from text", "rose after")
    asked = way.asking.asked(rows[0], example)
    assert [message["role"] for message in asked[0]] == ["user", "assistant", "user"]
    ((context, answer),) = way.asking.pairs(asked, example.continuations[:1])
    assert model.tokenizer.decode(context).endswith("<|im_start|>assistant")
    assert model.tokenizer.decode(answer) == "\njumps over"


def test_a_written_answer_may_be_one_of_several(folder: Path) -> None:
    text = "output_type: generate_until\ndoc_to_text: q\ndoc_to_choice: options\ndoc_to_target: right\n"
    (folder / "one.yaml").write_text(f"task: one\n{DATA}{text}", encoding="utf-8")
    task = read(folder / "one.yaml")
    assert [example_of(task, row).references for row in ROWS[:4:3]] == [("jumps over",), ("进球",)]
    assert (task.stop, task.max_new_tokens, task.temperature, task.trims) == (("\n\n",), 256, 0.0, False)


def test_files_may_include_others(folder: Path) -> None:
    (folder / "more.yaml").write_text("include: zero.yaml\ntask: more\nnum_fewshot: 3\n", encoding="utf-8")
    task = read(folder / "more.yaml")
    assert (task.name, task.shots, task.harness) == ("more", 3, True)
    # no fewshot_split: drawn from the test rows, and the row itself may be among them
    assert task.shots_are_data and not task.excluded


def test_rows_of_the_hub_are_those_of_the_command_line(folder: Path) -> None:
    text = (folder / "zero.yaml").read_text(encoding="utf-8").replace("dataset_path: json", "dataset_path: some/set")
    (folder / "hub.yaml").write_text(text.replace("dataset_kwargs", "ignored"), encoding="utf-8")
    assert inputs_of(str(folder / "hub.yaml")) == {}
    assert any("some/set" in note for note in read(folder / "hub.yaml").notes)


CANNOT = {
    DATA + "process_docs: !function utils.docs\n": "Python code",
    DATA + "doc_to_text: !function utils.text\n": "!function utils.text",
    "group: mmlu\ntask: [a, b]\n": "a group of tasks",
    DATA.replace("test_split", "validation_split").replace("split: test", "split: dev"): "no split 'dev'",
    DATA + "output_type: multiple_choice\ndoc_to_text: q\n": "doc_to_choice: multiple_choice needs it",
    DATA + "output_type: likelihood\n": "output_type: 'likelihood' is not one of",
    DATA + 'doc_to_text: "{{q"\n': "doc_to_text: not a valid template",
    DATA + "num_fewshot: 2\nfewshot_split: train\n": "fewshot_split: no split 'train'",
    DATA + "fewshot_config: {sampler: balanced}\n": "fewshot_config.sampler",
    DATA.replace("json\n", "text\n", 1): "make it JSONL",
    "dataset_path: json\ntest_split: test\n": "data_files: missing",
}


@pytest.mark.parametrize("text", CANNOT)
def test_what_cannot_be_run_is_said(text: str, folder: Path) -> None:
    (folder / "odd.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        inputs_of(str(folder / "odd.yaml"))
    assert CANNOT[text] in str(raised.value) and raised.value.remedy
