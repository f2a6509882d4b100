"""A model that writes: rows of every shape, in any batch, with the likelihood of the references or without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from ptft.core.chat import encode_chat, encode_prompt
from ptft.core.examples import CONVERSATIONS, UNANSWERED, detect, misshapen
from ptft.core.knobs import Decoding
from ptft.core.metrics import kinds
from ptft.core.models import Loaded, load
from ptft.core.progress import Silent
from ptft.core.prompting import PREFIX
from ptft.core.rows import Row
from ptft.stages.eval.prompts import Chats, Plain, Prompts, Sources, prompts_for
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.ways.answers import Answers, kind_of

CHATS = [
    {"messages": [{"role": "user", "content": text[:12]}, {"role": "assistant", "content": text[12:24]}]}
    for text in tiny.TEXTS
]
PAIRS = [{"source": text[:8], "target": text[8:20]} for text in tiny.TEXTS]
ASKS = [{"messages": chat["messages"][:1]} for chat in CHATS]
BARE = [{"prompt": text[:9]} for text in tiny.TEXTS]
COMPLETED = [{"prompt": text[:9], "completion": text[9:20]} for text in tiny.TEXTS]
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folder: Path = tmp_path_factory.mktemp("models")
    tiny.causal(folder / "causal", max_position_embeddings=128)
    tiny.seq2seq(folder / "seq2seq", std=0.6)
    return {name: load(folder / name) for name in ("causal", "seq2seq")}


def numbered(data: list[dict[str, Any]]) -> list[Row]:
    return [Row({"id": f"r{number}", **row}, "rows.jsonl", number) for number, row in enumerate(data, 1)]


def prompts_of(loaded: Loaded, data: list[dict[str, Any]], **more: Any) -> Prompts:
    shape = detect(numbered(data), (*UNANSWERED, *CONVERSATIONS))
    return prompts_for(loaded, shape, Silent(), **more)


def answered(
    loaded: Loaded, data: list[dict[str, Any]], metrics: tuple[str, ...] = ("rouge1",), **more: Any
) -> list[dict[str, Any]]:
    """The rows that have no problem, answered."""
    way = Answers(loaded, prompts_of(loaded, data), EvalRecipe(**{"decoding": SHORT, **more}), metrics)
    return way.predict([row for row in numbered(data) if way.problem(row) is None])


# ---------------------------------------------------------------- what is made


@pytest.mark.parametrize(
    ("base", "data", "kind"),
    [
        ("causal", CHATS, "answers"), ("causal", PAIRS, "answers"), ("causal", COMPLETED, "answers"),
        ("seq2seq", PAIRS, "texts"), ("causal", ASKS, "generations"), ("causal", BARE, "generations"),
    ],
)  # fmt: skip
def test_rows_of_every_shape_are_answered_and_scored(
    base: str, data: list[dict[str, Any]], kind: str, models: dict[str, Loaded]
) -> None:
    loaded = models[base]
    prompts = prompts_of(loaded, data)
    metrics = kinds.KINDS[kind].usual
    way = Answers(loaded, prompts, EvalRecipe(decoding=SHORT), metrics)
    rows = way.predict(numbered(data))
    assert way.kind == kind == kind_of(loaded, prompts)
    expected = {"input", "prediction"} | ({"reference"} if kind != "generations" else set())
    assert set(rows[0]) == expected | ({"nll", "tokens", "bytes"} if kind == "answers" else set())
    assert [measure.name for measure in kinds.measures(kind, rows, metrics)] == list(metrics)
    empty = sum(row["prediction"] == "" for row in rows)
    assert way.settings(rows)["decoding"] == "greedy"
    assert way.remarks(rows) == ([f"{empty} of {len(rows)} answers are empty"] if empty else [])


@pytest.mark.parametrize("decoding", [SHORT, replace(SHORT, beams=3), replace(SHORT, temperature=1.2)])
def test_the_batch_changes_neither_answers_nor_likelihoods(decoding: Decoding, models: dict[str, Loaded]) -> None:
    wanted = ("rouge1", "perplexity")
    found = [answered(models["causal"], CHATS, wanted, batch_size=size, decoding=decoding) for size in (1, 8, 32, 0)]
    for other in found[1:]:
        assert [row["prediction"] for row in other] == [row["prediction"] for row in found[0]]
        assert [row["nll"] for row in other] == pytest.approx([row["nll"] for row in found[0]], rel=1e-5)
    assert len({row["prediction"] for row in found[0]}) > 1


def test_a_block_is_predicted_the_same_alone(models: dict[str, Loaded]) -> None:
    """So that an interrupted run goes on as if nothing had been."""
    way = Answers(
        models["causal"], prompts_of(models["causal"], CHATS),
        EvalRecipe(decoding=replace(SHORT, temperature=1.0), seed=3), ("rouge1",),
    )  # fmt: skip
    rows = numbered(CHATS)
    assert way.predict(rows)[2:] == way.predict(rows[2:])
    other = replace(way, recipe=replace(way.recipe, seed=4))
    assert other.predict(rows) != way.predict(rows)
    assert way.settings([])["seed"] == 3 and "temperature 1" in way.settings([])["decoding"]


def test_only_what_the_metrics_need_is_computed(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    (row, *_) = answered(loaded, CHATS, ("bleu", "flagged"))
    assert "prediction" in row and "nll" not in row
    monkeypatch.setattr(loaded.model, "generate", None)
    (row, *_) = answered(loaded, CHATS, ("perplexity",))
    assert "nll" in row and "prediction" not in row


def test_a_greedy_answer_is_that_of_the_model_to_the_encoded_prompt(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    for row, chat in zip(answered(loaded, CHATS), CHATS, strict=True):
        ids = encode_prompt(loaded.tokenizer, chat["messages"][:1])
        made = loaded.model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=6)[0, len(ids) :]
        assert row["prediction"] == loaded.tokenizer.decode(made, skip_special_tokens=True).strip()
        assert row["input"] == chat["messages"][:1] and row["reference"] == chat["messages"][1]["content"]


def test_the_likelihood_is_that_of_training(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    for row, chat in zip(answered(loaded, CHATS, ("perplexity",)), CHATS, strict=True):
        encoded = encode_chat(loaded.tokenizer, chat["messages"], 1000)
        ids, labels = torch.tensor([encoded.ids]), torch.tensor([encoded.labels])
        own = float(loaded.model(input_ids=ids, labels=labels).loss.detach()) * encoded.learnt
        assert row["nll"] == pytest.approx(own, rel=1e-5) and row["tokens"] == encoded.learnt


def test_text_to_go_on_from_is_begun_as_the_tokenizer_begins_texts(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    plain = prompts_of(loaded, COMPLETED, chat="no")
    assert isinstance(plain, Plain) and isinstance(prompts_of(loaded, COMPLETED), Chats)
    assert isinstance(prompts_of(loaded, BARE), Plain) and isinstance(prompts_of(loaded, BARE, chat="yes"), Chats)
    (response,) = plain.responses(["The quick"], [" brown fox"])
    assert response.ids == loaded.tokenizer("The quick")["input_ids"] + loaded.tokenizer(" brown fox")["input_ids"]
    assert response.bytes == len(" brown fox") and plain.prompts(["<|im_end|>"], 99)[0][0] != [3]
    rows = answered(loaded, BARE)
    ids = loaded.tokenizer(BARE[0]["prompt"])["input_ids"]
    made = loaded.model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=6)[0, len(ids) :]
    assert rows[0]["prediction"] == loaded.tokenizer.decode(made, skip_special_tokens=True).strip()


def test_sources_are_asked_as_they_were_learnt(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    assert isinstance(prompts_of(loaded, PAIRS), Chats)
    monkeypatch.setitem(loaded.tokenizer.init_kwargs, PREFIX, "to: ")
    prompts = prompts_of(loaded, PAIRS)
    assert isinstance(prompts, Sources) and prompts.settings()["text_before"] == "to: "
    (ids, short), lost = prompts.prompts(["a", "The quick brown fox jumps over"], 8)
    assert loaded.tokenizer.decode(ids) == "to: a\n" and lost[0] == 0
    whole = loaded.tokenizer("to: The quick brown fox jumps over\n")["input_ids"]
    assert len(short) == 8 and lost[1] == len(whole) - 8 and short[:7] == whole[:7] and short[-1] == whole[-1]
    (response,) = prompts.responses(["a"], ["b"])
    assert loaded.tokenizer.decode(response.ids[response.first :]) == "b<|endoftext|>"


# ---------------------------------------------------------------- what cannot be had as it is


def test_a_long_prompt_is_cut_and_counted(models: dict[str, Loaded]) -> None:
    loaded = models["causal"]
    data = [*CHATS, {"messages": [{"role": "user", "content": "word " * 300}, {"role": "assistant", "content": "b"}]}]
    way = Answers(loaded, prompts_of(loaded, data), EvalRecipe(decoding=SHORT, max_seq_len=64), ("rouge1",))
    rows = way.predict(numbered(data))
    whole = len(encode_prompt(loaded.tokenizer, data[-1]["messages"][:1]))
    assert rows[-1]["cut"] == whole - (64 - 6) and not any("cut" in row for row in rows[:-1])
    *_, said = way.remarks(rows)
    assert said == "1 of 5 prompts were cut at the beginning to leave room for 6 new tokens in a context of 64"
    assert way.settings(rows)["prompts_cut"] == 1 and way.settings(rows)["context"] == 64
    assert Answers(loaded, way.prompts, EvalRecipe(max_seq_len=64), ("rouge1",)).room == 32  # half is the prompt's
    more = Answers(loaded, way.prompts, EvalRecipe(decoding=Decoding(max_new_tokens=50), max_seq_len=64), ("rouge1",))
    assert more.remarks(rows)[0] == "answers have at most 32 new tokens, not 50: half of a context of 64"


def test_rows_with_a_problem_say_why(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models["causal"]
    user, nothing = {"role": "user", "content": "a"}, {"role": "assistant", "content": " "}
    chats, asks = prompts_of(loaded, CHATS), prompts_of(loaded, ASKS)

    def problem(prompts: Prompts, **data: Any) -> str:
        return prompts.problem(numbered([data])[0]) or ""

    assert "empty reference" in problem(chats, messages=[user, nothing])
    assert "nothing is asked" in problem(chats, messages=[{"role": "assistant", "content": "a"}])
    assert "empty prompt" in problem(asks, messages=[{"role": "user", "content": "\n"}])
    assert "empty prompt" in problem(prompts_of(loaded, BARE), prompt=" ")
    assert "empty completion" in problem(prompts_of(loaded, COMPLETED, chat="no"), prompt="a", completion=" ")
    assert "empty target" in problem(Sources(models["seq2seq"]), source="a", target=" ")
    monkeypatch.setattr(loaded.tokenizer, "chat_template", "{{ raise_exception('only users') }}")
    for prompts in (prompts_of(loaded, CHATS), prompts_of(loaded, ASKS)):
        assert "refuses it: only users" in problem(prompts, **(CHATS if prompts.answered else ASKS)[0])
    template = "{% for m in messages %}{{ m.role }}{% generation %}{% endgeneration %}{% endfor %}"
    monkeypatch.setattr(loaded.tokenizer, "chat_template", template)
    assert "leaves nothing of the answer" in problem(prompts_of(loaded, CHATS), **CHATS[0])


def test_conversations_that_ask_are_told_by_their_end() -> None:
    wanted = (*UNANSWERED, *CONVERSATIONS)
    turns = [*CHATS[0]["messages"], {"role": "user", "content": "and now?"}]
    assert (
        detect(numbered(CHATS), wanted).name == "messages" and detect(numbered(ASKS), wanted).name == "messages-asked"
    )
    assert detect(numbered([{"messages": turns}]), wanted).name == "messages-asked"
    assert detect(numbered([{"messages": turns}]), CONVERSATIONS).name == "messages"
    shares = [{"conversations": [{"from": "human", "value": "hi"}]}]
    assert detect(numbered(shares), wanted).name == "sharegpt-asked"
    assert detect(numbered(BARE), wanted).name == "prompt"
    assert detect(numbered(COMPLETED), wanted).name == "prompt-completion"
    asks = detect(numbered(ASKS), wanted)
    assert misshapen(numbered(ASKS)[0], asks) is None
    odd = misshapen(numbered([{"messages": [{"role": "assistant", "content": "a"}]}])[0], asks)
    assert odd is not None and "nothing is asked" in odd.reason


def test_the_last_question_of_a_conversation_is_asked(models: dict[str, Loaded]) -> None:
    turns = [*CHATS[0]["messages"], {"role": "user", "content": "and now?"}]
    (row,) = answered(models["causal"], [{"messages": turns}], ("flagged",))
    assert row["input"] == turns and "reference" not in row
    (row, _) = answered(
        models["causal"], [{"messages": turns}, {"messages": [*turns, CHATS[1]["messages"][1]]}], ("flagged",)
    )
    assert _["input"] == turns


def test_a_plain_template_is_said(tmp_path: Path) -> None:
    loaded = load(tiny.causal(tmp_path / "bare"))
    loaded.tokenizer.chat_template = None
    said = Silent()
    prompts_for(loaded, detect(numbered(CHATS), CONVERSATIONS), said)
    assert "no chat template" in said.warnings[0]


def test_a_template_is_read_once_a_run(models: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    from ptft.stages.eval import prompts

    made: list[int] = []
    encoder = prompts.ChatEncoder
    monkeypatch.setattr(prompts, "ChatEncoder", lambda tokenizer: (made.append(1), encoder(tokenizer))[1])
    answered(models["causal"], CHATS, ("rouge1", "perplexity"))
    assert made == [1]
