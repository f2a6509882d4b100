"""BERTScore against the formula of its paper, and against the bert_score package where that is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptft.core.errors import InputError, UsageError
from ptft.core.metrics.bertscore import _load, bertscore_measure
from ptft.core.metrics.kinds import Options
from ptft.core.metrics.text import text_measures

PREDICTIONS = ["the dog bit the man", "今天天气很好", "a", "the quick brown fox jumps over"]
REFERENCES = [["the man was bitten"], ["今天下雨了", "天气真好"], ["a"], ["the lazy dog"]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with a WordPiece tokenizer, which marks both ends of a text."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted(
        {word for text in [*PREDICTIONS, *(text for row in REFERENCES for text in row)] for word in text.split()}
    )
    letters = sorted({letter for word in words for letter in word})
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*marks, *letters, *words]))}
    BertTokenizerFast(vocab=vocab, model_max_length=64).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def _own(folder: Path, predictions: list[str], references: list[list[str]]) -> np.ndarray:
    own = bertscore_measure(predictions, references, folder).own
    assert own is not None
    return own


def test_it_is_greedy_matching_of_the_last_layer(encoder: Path) -> None:
    """Zhang et al. 2020, eq. 1-3, one pair at a time and written out."""
    import torch

    model = _load(encoder)
    assert model.layer == 2
    own = _own(encoder, PREDICTIONS, REFERENCES)
    for row, (prediction, wanted) in enumerate(zip(PREDICTIONS, REFERENCES, strict=True)):
        found = []
        for reference in wanted:
            sides = []
            for text in (prediction, reference):
                ids = model.tokenizer(text, return_tensors="pt")
                with torch.no_grad():
                    hidden = model.network(**ids).last_hidden_state[0]
                sides.append(hidden / hidden.norm(dim=-1, keepdim=True))
            alike = sides[0] @ sides[1].T
            precision = alike.max(dim=1).values[1:-1].mean()  # without [CLS] and [SEP]
            recall = alike.max(dim=0).values[1:-1].mean()
            found.append(float(2 * precision * recall / (precision + recall)))
        assert own[row] == pytest.approx(max(found), abs=1e-5)
    assert own[2] == pytest.approx(1.0, abs=1e-6)


def test_the_order_of_rows_changes_nothing_and_an_empty_text_is_zero(encoder: Path) -> None:
    rows = list(zip([*PREDICTIONS, ""], [*REFERENCES, ["the dog"]], strict=True)) * 9  # more than a batch
    own = _own(encoder, [row[0] for row in rows], [row[1] for row in rows])
    backwards = _own(encoder, [row[0] for row in rows[::-1]], [row[1] for row in rows[::-1]])
    assert own == pytest.approx(backwards[::-1], abs=1e-6)
    assert own[4] == 0.0 and own[:4] == pytest.approx(_own(encoder, PREDICTIONS, REFERENCES), abs=1e-6)


def test_long_texts_are_cut_to_what_the_model_reads(encoder: Path) -> None:
    assert _own(encoder, ["the dog " * 60], [["the dog " * 60]])[0] == pytest.approx(1.0, abs=1e-5)


def test_a_model_is_asked_for() -> None:
    with pytest.raises(UsageError, match="bertscore needs a model") as raised:
        text_measures(["a"], [["a"]], ["bertscore"], Options())
    assert "--set bertscore=DIR" in raised.value.remedy


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model that can be read"):
        text_measures(["a"], [["a"]], ["bertscore"], Options(bertscore=tmp_path))


def test_it_agrees_with_the_bert_score_package(encoder: Path) -> None:
    bert_score = pytest.importorskip("bert_score", reason="the package bert_score is not installed here")
    scorer = bert_score.BERTScorer(model_type=str(encoder), num_layers=2)
    # one at a time: in a batch it takes padding for a token of similarity 0, which beats a negative one
    theirs = [scorer.score([text], [row])[2].item() for text, row in zip(PREDICTIONS, REFERENCES, strict=True)]
    assert _own(encoder, PREDICTIONS, REFERENCES) == pytest.approx(theirs, abs=1e-4)
