"""Answers in a text: windows, what has none, and what is learnt."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from finetuning import SMALL, inputs, rows_file
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering

from ptft.core.errors import InputError
from ptft.core.examples import row_text
from ptft.core.extracting import Answer, answer_problem, answers_of, best_answers, windows_of
from ptft.core.models import load, load_tokenizer
from ptft.core.progress import Silent
from ptft.stages.finetune.recipe import TaskRecipe
from ptft.stages.finetune.task import run as task
from ptft.stages.finetune.task.span import AnsweredQuestions

QUESTIONS = [
    {"question": "who barks?", "context": "The dog barks.", "answers": {"text": ["dog"], "answer_start": [4]}},
    {"question": "谁赢了?", "context": "球队赢得了比赛。", "answers": ["球队"]},
    {"question": "what runs?", "context": "A fox runs.", "answers": {"text": ["fox", "A fox"], "answer_start": [2, 0]}},
    {"question": "what flies?", "context": "A fox runs.", "answers": {"text": [], "answer_start": []}},
] * 3
FEW = {"epochs": 4, "lr": 1e-2, "save_every": 99, "eval_every": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("span")
    tiny.causal(made / "causal", scale=1.0)
    tiny.masked(made / "masked")
    tiny.seq2seq(made / "seq2seq")
    rows_file(made / "rows.jsonl", QUESTIONS)
    return made


def prepared(folder, output_of, tmp_path, rows, base="masked", **knobs):
    data = rows_file(tmp_path / "rows.jsonl", rows)
    recipe = TaskRecipe(**{**SMALL, **knobs})
    made = task.prepare(recipe, inputs(folder / base, data, data), output_of(tmp_path / "o"), Silent())
    assert isinstance(made, AnsweredQuestions)
    return made


@pytest.mark.parametrize("base", ["masked", "causal", "seq2seq"])
def test_answers_are_learnt_and_load_with_plain_transformers(folder, output_of, tmp_path, base):
    out, data = output_of(tmp_path), folder / "rows.jsonl"
    result = task.run(TaskRecipe(**{**SMALL, **FEW}), inputs(folder / base, data, data), out, Silent())
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    assert {"eval_token_f1", "eval_exact_match", "eval_loss"} <= set(result.metrics)
    assert result.counts["unanswerable"] == 3 and result.counts["windows_with_answer"] == 9
    loaded = load(out.new)
    assert loaded.kind == "span" and loaded.model.config.may_abstain is True
    plain = AutoModelForQuestionAnswering.from_pretrained(out.new).eval()
    with torch.no_grad():
        found, expected = (model(torch.tensor([[5, 6, 7]])).start_logits for model in (plain, loaded.model))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("base", ["masked", "causal", "seq2seq"])
def test_the_new_head_stands_on_the_base_it_was_made_from(folder, output_of, tmp_path, base):
    """transformers' Llama names its layers otherwise in this class, and would make all of them anew."""
    made = prepared(folder, output_of, tmp_path, QUESTIONS, base)
    whole = load(folder / base).model
    ours = made.new_model().base_model.state_dict()
    same = [torch.equal(value, ours[name]) for name, value in whole.base_model.state_dict().items() if name in ours]
    assert len(same) > 10 and all(same)


def test_the_label_is_where_the_answer_is(folder, output_of, tmp_path):
    made = prepared(folder, output_of, tmp_path, QUESTIONS[:4])
    tokenizer, rows = load_tokenizer(made.tokenizer), made.source()
    for number, text in enumerate(["dog", "球队", "fox"]):
        first, last = rows[number]["labels"].tolist()
        assert tokenizer.decode(rows[number]["input_ids"][first : last + 1]).strip() == text
    assert rows[3]["labels"].tolist() == [0, 0]


# ---------------------------------------------------------------- windows

TOKENIZER = tiny.tokenizer()


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab 球队赢\n", min_size=1, max_size=60), st.integers(12, 40), st.integers(0, 20))
def test_windows_see_every_character_and_share_the_stride(context: str, size: int, stride: int) -> None:
    windows, cut = windows_of(TOKENIZER, ["who?"], [context], size, stride)
    assert not cut and all(len(window.encoded["input_ids"]) <= size for window in windows)
    tokens = TOKENIZER(context, return_offsets_mapping=True)["offset_mapping"]
    covered = [span for window in windows for span in window.spans]
    assert set(map(tuple, tokens)) == set(covered)
    for before, after in pairwise(windows):
        shared = min(stride, len(before.spans) // 2)  # half of a window is new at least
        assert before.spans[len(before.spans) - shared :] == after.spans[:shared]


@pytest.mark.parametrize("pair", [False, True])
def test_a_pair_that_fits_is_encoded_as_the_tokenizer_does(pair):
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny.tokenizer()
    if pair:
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|im_start|> $A <|im_end|>", pair="<|im_start|> $A <|im_end|> $B:1 <|im_end|>:1",
            special_tokens=[("<|im_start|>", 2), ("<|im_end|>", 3)],
        )  # fmt: skip
    (window,), _ = windows_of(tokenizer, ["who wins?"], ["the team 球队"], 64, 8)
    wanted = tokenizer("who wins?", "the team 球队")
    assert window.encoded == {name: values for name, values in wanted.items() if name != "attention_mask"}
    assert ("token_type_ids" in window.encoded) == pair


def test_a_window_without_the_whole_answer_has_its_first_token_for_label():
    context = "a b c d e f g h i j k l"
    windows, _ = windows_of(TOKENIZER, ["q"], [context], 8, 3)
    answer = Answer("e f g", context.index("e f g"))
    begin, end = answer.start, answer.start + len(answer.text)
    whole = [window.spans[0][0] <= begin and window.spans[-1][1] >= end for window in windows]
    touched = [window.spans[0][0] < end and window.spans[-1][1] > begin for window in windows]
    assert [window.label(answer) != (0, 0) for window in windows] == whole
    assert any(whole) and touched != whole


def test_a_long_question_leaves_half_of_the_room():
    windows, cut = windows_of(TOKENIZER, ["why " * 50], ["because of it"], 16, 4)
    assert cut == [0] and all(window.first <= 8 and window.spans for window in windows)


def test_the_best_span_is_not_backwards_nor_too_long_and_may_be_none():
    windows, _ = windows_of(TOKENIZER, ["q"], ["a b c d"], 64, 0)
    (window,) = windows
    size = len(window.encoded["input_ids"])
    starts, ends = np.full(size, -5.0, np.float32), np.full(size, -5.0, np.float32)
    place = {"a b c d"[begin:end].strip(): window.first + index for index, (begin, end) in enumerate(window.spans)}
    starts[place["c"]], ends[place["a"]], ends[place["d"]] = 4, 9, 3
    starts[place["a"]] = 1
    for none, abstains, text in ((-1.0, True, "a"), (20.0, True, ""), (20.0, False, "a")):
        starts[0], ends[0] = none, none
        (found,) = best_answers(windows, [(starts, ends)], ["a b c d"], abstains)
        assert found.text == text
    starts[place["a"]] = -5
    starts[0], ends[0] = -1, -1
    (found,) = best_answers(windows, [(starts, ends)], ["a b c d"], True)
    assert found.text == "c d" and found.score == pytest.approx(4 + 3 + 2)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("answers", "found", "problem"),
    [
        (["fox"], [("fox", 2)], None),
        ({"text": ["x"], "answer_start": [4]}, [("x", 4)], None),
        ({"text": ["fox"], "answer_start": [9]}, [("fox", 2)], None),
        ({"text": ["o", "fox"]}, [("o", 3), ("fox", 2)], None),
        (["", " "], [], None),
        ([], [], None),
        (["cat"], [], "does not hold the answer 'cat'"),
        ({"text": "fox"}, None, "neither"),
        ([{"text": "fox"}], None, "neither"),
        ({"text": ["fox"], "answer_start": []}, None, "another number of starts"),
    ],
)
def test_the_answers_of_a_row(answers, found, problem):
    row = {"question": "q", "context": "A fox runs.", "answers": answers}
    said = answer_problem(row)
    assert said is None if problem is None else problem in said
    if found is not None:
        assert answers_of(row) == [Answer(*pair) for pair in found]


def test_an_answer_that_is_not_in_the_context_is_rejected(folder, output_of, tmp_path):
    made = prepared(folder, output_of, tmp_path, [*QUESTIONS, {**QUESTIONS[0], "answers": ["cat"]}], max_bad_rows=0.5)
    assert made.counts["rows_rejected"] == 2 and made.counts["rows"] == len(QUESTIONS)


def test_near_duplicates_are_found_by_question_and_context():
    assert row_text(QUESTIONS[0]) == "who barks?\nThe dog barks."


def test_nothing_to_find_is_an_error(folder, output_of, tmp_path):
    with pytest.raises(InputError, match="nothing to find"):
        prepared(folder, output_of, tmp_path, [{**QUESTIONS[0], "answers": []}] * 2)
