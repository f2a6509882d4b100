"""Exports beside their original: every figure against the same computed here in torch, and what is kept between runs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from ptft.core.errors import InputError
from ptft.core.models import MANY_LABELS, NUMBER, Loaded, load
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.rows import Texts, built_in
from ptft.stages.export.verifying import Quality, Verified, Verifier, processes
from ptft.stages.export.verifying.comparing import perplexity_ratio
from ptft.stages.export.verifying.encoding import HIDDEN, NO_TARGET, encoded

SCRIPTS = ("common", "judging", "measure", "with_torch", "with_onnx", "with_gguf", "with_llama_cpp")
QUIET = ExportRecipe(speed=False)
TEXTS = Texts(
    [*tiny.TEXTS, "A longer text that is cut, for it has more tokens than the model takes at once. 很长。" * 3]
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The scripts run in this process, which has imported torch already; the runtimes that were run."""
    ran: list[str] = []
    monkeypatch.syspath_prepend(str(processes.SCRIPT.parent))

    def run(options: Mapping[str, Any], report: Path) -> dict[str, Any]:
        ran.append(options["runtime"])
        given = json.loads(json.dumps({**options, "report": str(report)}))
        importlib.import_module("common").finish(given, importlib.import_module("measure").measured(given))
        return processes.read(report)

    monkeypatch.setattr(processes, "run", run)
    yield ran
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def changed(loaded: Loaded, folder: Path, by: float = 0.05) -> Loaded:
    """A model whose weights moved a little, saved in a folder as an export would be."""
    model = type(loaded.model)(loaded.model.config)
    model.load_state_dict(loaded.model.state_dict())
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.abs().mean() * by)
    model.eval().save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return replace(loaded, model=model.eval(), folder=folder)


def verified(loaded: Loaded, texts: Texts, tmp_path: Path, by: float = 0.05) -> tuple[Verified, Loaded, Verifier]:
    new = changed(loaded, tmp_path / "new", by)
    verifier = Verifier(loaded, loaded.folder, texts, tmp_path / "scratch", QUIET)
    return verifier.export(new.folder, "torch"), new, verifier


def log_chances(loaded: Loaded, ids: Any, **more: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.log_softmax(loaded.model(input_ids=torch.tensor(ids)[None], **more).logits[0].double(), -1)


@pytest.fixture
def causal(tmp_path: Path) -> Loaded:
    return load(tiny.causal(tmp_path / "model"))


# ---------------------------------------------------------------- tokens


def test_a_causal_model_is_compared_token_by_token(causal: Loaded, tmp_path: Path, here: list[str]) -> None:
    found, new, _ = verified(causal, TEXTS, tmp_path)
    old_nats, new_nats, divergence, same, rows = [], [], [], [], []
    for text in TEXTS.texts:
        ids = causal.tokenizer(text)["input_ids"][:64]
        old, moved = (log_chances(loaded, ids)[:-1] for loaded in (causal, new))
        targets = torch.tensor(ids[1:])
        old_nats.append(torch.nn.functional.nll_loss(old, targets, reduction="none"))
        new_nats.append(torch.nn.functional.nll_loss(moved, targets, reduction="none"))
        divergence.append(torch.nn.functional.kl_div(moved, old, reduction="none", log_target=True).sum(-1))
        same.append((old.argmax(-1) == moved.argmax(-1)).float())
        rows.append(len(targets))
    before, after = torch.cat(old_nats).mean().item(), torch.cat(new_nats).mean().item()
    quality = found.quality
    assert (quality.rows, quality.tokens, quality.compared) == (5, sum(rows), sum(rows))
    assert quality.loss_before == pytest.approx(before, abs=1e-5) and quality.loss_after == pytest.approx(
        after, abs=1e-5
    )
    assert quality.loss_increase == pytest.approx(after / before - 1, abs=1e-5)
    assert quality.perplexity_ratio == pytest.approx(math.exp(after - before), abs=1e-5)
    assert quality.kl == pytest.approx(torch.cat(divergence).mean().item(), rel=1e-3) and quality.kl > 1e-4
    assert quality.first_choice_equal == pytest.approx(torch.cat(same).mean().item(), abs=1e-6)
    assert 0.5 < quality.first_choice_equal < 1 and quality.max_logit_error > quality.mean_logit_error > 0
    assert found.speed is None and here == ["torch", "torch"]


def test_the_original_is_no_further_from_itself_and_claims_what_it_says(
    causal: Loaded, tmp_path: Path, here: list[str]
) -> None:
    found = Verifier(causal, causal.folder, TEXTS, tmp_path / "scratch", QUIET).original()
    assert (found.quality.kl, found.quality.first_choice_equal, found.quality.loss_increase) == (0.0, 1.0, 0.0)
    claim = found.claims["zh"]
    with torch.inference_mode():
        logits = causal.model(input_ids=torch.tensor([claim["ids"]])).logits[0]
    assert claim["text"] == built_in(causal).texts[2] and claim["first_choices"] == logits.argmax(-1).tolist()
    top = logits[-1].topk(5)
    assert [at for at, _ in claim["logits"]] == top.indices.tolist()
    assert [value for _, value in claim["logits"]] == pytest.approx(top.values.tolist(), rel=1e-4)


def test_the_same_input_gives_the_same_bytes(causal: Loaded, tmp_path: Path, here: list[str]) -> None:
    made = []
    for name in ("one", "two"):
        new = changed(causal, tmp_path / name)
        found = Verifier(causal, causal.folder, TEXTS, tmp_path / f"{name}-scratch", QUIET).export(new.folder, "torch")
        made.append(json.dumps([found.quality.as_json(), found.claims]))
    assert made[0] == made[1] and len(here) == 4


def test_what_was_measured_is_not_measured_again(causal: Loaded, tmp_path: Path, here: list[str]) -> None:
    first, new, _ = verified(causal, TEXTS, tmp_path)
    (new.folder / "export.json").write_text("{}")
    again = Verifier(causal, causal.folder, TEXTS, tmp_path / "scratch", QUIET).export(new.folder, "torch")
    assert again == first and len(here) == 2
    other = replace(TEXTS, texts=TEXTS.texts[:2])
    Verifier(causal, causal.folder, other, tmp_path / "scratch", QUIET).export(new.folder, "torch")
    assert len(here) == 4  # other rows: the original too
    (new.folder / "config.json").write_text((new.folder / "config.json").read_text() + "\n")
    Verifier(causal, causal.folder, other, tmp_path / "scratch", QUIET).export(new.folder, "torch")
    assert len(here) == 5


def test_logits_that_do_not_fit_are_left_out_of_the_comparison_only(
    causal: Loaded, tmp_path: Path, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, new, _ = verified(causal, TEXTS, tmp_path)
    monkeypatch.setattr("ptft.stages.export.verifying.verifier.REFERENCE_BYTES", 10 * 400 * 4)
    few = Verifier(causal, causal.folder, TEXTS, tmp_path / "few", QUIET).export(new.folder, "torch")
    assert few.quality.compared == 10 and few.quality.loss_after == whole.quality.loss_after
    assert 0 < few.quality.kl != whole.quality.kl


def test_a_masked_model_guesses_the_same_hidden_tokens(tmp_path: Path, here: list[str]) -> None:
    loaded = load(tiny.masked(tmp_path / "model"))
    found, new, verifier = verified(loaded, TEXTS, tmp_path, by=0.3)
    nats = []
    for line in verifier.lines.lines:
        places = np.flatnonzero(line.targets != NO_TARGET)
        assert (line.ids[places] == loaded.tokenizer.mask_token_id).all()
        chances = log_chances(new, line.ids)
        nats += (-chances[places, line.targets[places]]).tolist()
    share = len(nats) / sum(len(line.ids) for line in verifier.lines.lines)
    assert share == pytest.approx(HIDDEN, abs=0.03)
    assert found.quality.loss_after == pytest.approx(float(np.mean(nats)), abs=1e-5)
    assert found.quality.kl > 0 and len(found.claims["en"]["first_choices"]) == len(found.claims["en"]["ids"])


def test_the_interval_of_a_ratio_is_paired_by_rows() -> None:
    """Of rows of equal length it is that of the mean of their means."""
    gaps = np.random.default_rng(0).normal(0.01, 0.2, (40, 7))
    ratio, low, high = perplexity_ratio(gaps.reshape(-1), np.full(40, 7))
    means = gaps.mean(1)
    half = 1.96 * means.std(ddof=1) / math.sqrt(40)
    assert (math.log(ratio), math.log(low or 0), math.log(high or 0)) == pytest.approx(
        (means.mean(), means.mean() - half, means.mean() + half)
    )
    assert perplexity_ratio(gaps[0], np.array([7]))[1:] == (None, None)


# ---------------------------------------------------------------- heads


def heads(loaded: Loaded, texts: Texts) -> np.ndarray:
    rows = []
    for number, text in enumerate(texts.texts):
        given = loaded.tokenizer(
            text, texts.pairs[number] if texts.pairs else None, return_tensors="pt", truncation=True, max_length=64
        )
        with torch.inference_mode():
            rows.append(loaded.model(**given).logits[0].double().numpy())
    return np.stack(rows)


def labelled(tmp_path: Path, problem: str | None, labels: list[Any]) -> tuple[Quality, np.ndarray, np.ndarray]:
    loaded = load(tiny.bert_classifier(tmp_path / "model"))
    loaded.model.config.problem_type = problem
    texts = Texts(TEXTS.texts, None, labels)
    found, new, _ = verified(loaded, texts, tmp_path, by=0.5)
    return found.quality, heads(loaded, texts), heads(new, texts)


def test_a_classifier_has_scikit_learns_scores(tmp_path: Path, here: list[str]) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    wanted = [0, 1, 2, 1, 0]
    quality, old, new = labelled(tmp_path, None, wanted)
    for at, logits in enumerate((old, new)):
        assert quality.scores["accuracy"][at] == pytest.approx(accuracy_score(wanted, logits.argmax(1)))
        assert quality.scores["macro_f1"][at] == pytest.approx(f1_score(wanted, logits.argmax(1), average="macro"))
        loss = log_loss(wanted, torch.softmax(torch.tensor(logits), 1).numpy(), labels=[0, 1, 2])
        assert (quality.loss_before, quality.loss_after)[at] == pytest.approx(loss, abs=1e-5)
    assert quality.max_logit_error == pytest.approx(np.abs(old - new).max(), abs=1e-4)
    assert quality.first_choice_equal == (old.argmax(1) == new.argmax(1)).mean()
    assert quality.as_json()["macro_f1_after"] == pytest.approx(quality.scores["macro_f1"][1], abs=1e-5)


def test_several_labels_have_scikit_learns_scores(tmp_path: Path, here: list[str]) -> None:
    from sklearn.metrics import f1_score

    wanted = [[0], [1, 2], [], [0, 1, 2], [2]]
    flags = np.array([[label in row for label in range(3)] for row in wanted])
    quality, old, new = labelled(tmp_path, MANY_LABELS, wanted)
    for at, logits in enumerate((old, new)):
        assert quality.scores["micro_f1"][at] == pytest.approx(f1_score(flags, logits > 0, average="micro"))
        assert quality.scores["macro_f1"][at] == pytest.approx(f1_score(flags, logits > 0, average="macro"))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(new), torch.tensor(flags).double())
    assert quality.loss_after == pytest.approx(loss.item(), abs=1e-5) and quality.kl > 0


def test_numbers_have_their_error_and_correlation(tmp_path: Path, here: list[str]) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(**tiny.sizes(), num_labels=1, problem_type=NUMBER, pad_token_id=1)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(30)
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    loaded, wanted = load(tmp_path / "model"), [0.5, -1.0, 2.0, 0.0, 1.0]
    texts = Texts(TEXTS.texts, None, wanted)
    found, new, _ = verified(loaded, texts, tmp_path, by=0.3)
    said = heads(new, texts)[:, 0]
    assert found.quality.loss_after == pytest.approx(np.mean((said - wanted) ** 2), rel=1e-4)
    assert found.quality.scores["pearson"][1] == pytest.approx(np.corrcoef(said, wanted)[0, 1], abs=1e-4)
    assert found.quality.scores["mean_squared_error"][1] == found.quality.loss_after


def test_a_tagger_is_judged_at_its_words(tmp_path: Path, here: list[str]) -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(2)
    names = ("O", "B-X", "I-X")
    model = BertForTokenClassification(BertConfig(**tiny.sizes(), id2label=dict(enumerate(names)), pad_token_id=1))
    with torch.no_grad():
        model.classifier.weight.mul_(30)
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    words = [["The", "quick", "fox"], ["今天", "天气", "很", "好"]]
    tags = [[1, 2, 0], [0, 1, 0, 0]]
    texts = Texts([" ".join(row) for row in words], None, tags, words=words)
    loaded = load(tmp_path / "model")
    found, new, verifier = verified(loaded, texts, tmp_path, by=0.5)
    said, nats = [], []
    for line in verifier.lines.lines:
        chances = log_chances(new, line.ids)
        places = np.flatnonzero(line.targets != NO_TARGET)
        said.append([names[number] for number in chances[places].argmax(-1)])
        nats += (-chances[places, line.targets[places]]).tolist()
    wanted = [[names[number] for number in row] for row in tags]
    assert found.quality.tokens == 7 and found.quality.loss_after == pytest.approx(float(np.mean(nats)), abs=1e-5)
    assert found.quality.scores["entity_f1"][1] == pytest.approx(f1_score(wanted, said, mode="strict", scheme=IOB2))
    right = sum(a == b for one, other in zip(wanted, said, strict=True) for a, b in zip(one, other, strict=True))
    assert found.quality.scores["token_accuracy"][1] == pytest.approx(right / 7)


def test_a_finder_of_answers_has_first_and_last_places(tmp_path: Path, here: list[str]) -> None:
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(1)
    BertForQuestionAnswering(BertConfig(**tiny.sizes(), pad_token_id=1)).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "model")
    loaded.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    texts = built_in(loaded)
    found, new, verifier = verified(loaded, texts, tmp_path, by=0.3)
    same = []
    assert {0, 1} == {int(kind) for line in verifier.lines.lines for kind in line.types}
    for line in verifier.lines.lines:
        given = {"input_ids": torch.tensor(line.ids)[None], "token_type_ids": torch.tensor(line.types)[None]}
        with torch.inference_mode():
            one, other = loaded.model(**given), new.model(**given)
        same += [int(one[name].argmax() == other[name].argmax()) for name in ("start_logits", "end_logits")]
    assert (found.quality.first_choice_equal, found.quality.compared) == (np.mean(same), 8)
    assert found.quality.loss_increase is None and len(found.claims["zh"]["first_choices"]) == 2


def test_the_speed_of_the_original_is_that_of_its_stored_type(
    tmp_path: Path, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.causal(tmp_path / "model")
    loaded = load(folder, dtype="float32")
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    loaded.model.float()
    run, asked = processes.run, []

    def noted(options: Mapping[str, Any], report: Path) -> dict[str, Any]:
        asked.append((options["settings"]["dtype"], options["what"]))
        return run(options, report)

    monkeypatch.setattr(processes, "run", noted)
    found = Verifier(loaded, folder, TEXTS, tmp_path / "scratch", ExportRecipe()).original()
    assert sorted(asked) == [("auto", ("speed",)), ("float32", ("rows", "claims"))]
    assert found.speed is not None and found.speed.tokens_per_second[8] > 0 and found.quality.kl == 0


def test_a_gguf_file_runs_in_llama_cpp_where_that_is_installed(causal: Loaded, tmp_path: Path, here: list[str]) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from ptft.stages.export.formats import gguf

    (tmp_path / "gguf").mkdir()
    gguf.write(causal, {}, tmp_path / "gguf", others="F32")
    found = Verifier(causal, causal.folder, TEXTS, tmp_path / "scratch", ExportRecipe()).export(
        tmp_path / "gguf", "gguf"
    )
    assert here.count("llama_cpp") == 2 and found.note == ""
    assert found.quality.kl < 1e-5 and found.quality.first_choice_equal > 0.99
    assert found.speed is not None and found.speed.tokens_per_second[8] > 0


def test_without_llama_cpp_a_gguf_file_has_answers_and_no_speed(
    causal: Loaded, tmp_path: Path, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptft.stages.export.formats import gguf

    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "llama_cpp" else find(name, *more)
    )
    (tmp_path / "gguf").mkdir()
    gguf.write(causal, {}, tmp_path / "gguf", others="F32")
    found = Verifier(causal, causal.folder, TEXTS, tmp_path / "scratch", ExportRecipe()).export(
        tmp_path / "gguf", "gguf"
    )
    assert "gguf" in here and found.speed is None and "llama-cpp-python" in found.note
    assert found.quality.kl < 1e-6 and found.quality.first_choice_equal == 1.0


def test_models_that_cannot_be_verified_are_refused(causal: Loaded, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="encoder-decoder"):
        encoded(replace(causal, kind="seq2seq"), TEXTS, 64)
    with pytest.raises(InputError, match="no row holds a token"):
        encoded(causal, Texts([""]), 64)


def test_a_template_and_a_tokenizer_begin_a_text_once(causal: Loaded) -> None:
    causal.tokenizer.bos_token = "<|endoftext|>"
    rows = encoded(causal, Texts(["<|endoftext|><|endoftext|>a b c"]), 64).lines
    assert rows[0].ids.tolist() == causal.tokenizer("<|endoftext|>a b c")["input_ids"]


# ---------------------------------------------------------------- speed, in processes of their own


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Verified]:
    """The original in torch and its export in ONNX Runtime, in processes of their own."""
    from ptft.stages.export.formats import onnx

    folder = tmp_path_factory.mktemp("timed")
    loaded = load(tiny.causal(folder / "model"), dtype="float32")
    graph = onnx.graph_of(loaded, folder / "tracing")
    (folder / "onnx").mkdir()
    onnx.write(loaded, {}, folder / "onnx", graph=graph)
    verifier = Verifier(loaded, folder / "model", TEXTS, folder / "scratch", ExportRecipe())
    found = {"torch": verifier.original(), "onnx": verifier.export(folder / "onnx", "onnx")}
    return lambda name: found[name]


def test_an_onnx_export_is_run_without_torch_and_says_the_same(timed: Callable[[str], Verified]) -> None:
    original, export = timed("torch"), timed("onnx")
    assert export.quality.kl < 1e-6 and export.quality.first_choice_equal == 1.0
    assert export.quality.loss_after == pytest.approx(original.quality.loss_before, abs=1e-4)
    for language in ("en", "zh"):
        assert export.claims[language]["first_choices"] == original.claims[language]["first_choices"]
    assert export.speed and original.speed and export.speed.peak_bytes < original.speed.peak_bytes / 2


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_speed_is_measured_alone_and_in_batches(timed: Callable[[str], Verified], name: str) -> None:
    found = timed(name).speed
    assert found is not None and found.cache_agrees == 1.0
    shown = found.as_json()
    assert set(shown["tokens_per_second"]) == set(shown["first_token_seconds"]) == {"1", "8"}
    assert 0 < found.load_seconds < 60 and 0 < found.reload_seconds < 60
    assert 0 < found.model_bytes < found.peak_bytes and min(found.tokens_per_second.values()) > 0
