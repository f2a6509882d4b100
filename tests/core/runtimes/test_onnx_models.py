"""ONNX folders as models. Real exports are compared with the torch model they came from, hand-made graphs with numpy."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
import runtime_folders as folders
import tiny
import torch
from transformers import BertConfig, GPT2Config, LlamaConfig

from ptft.core import models, predicting, scoring, weights
from ptft.core.contracts import ONNX, kind_of
from ptft.core.errors import InputError
from ptft.core.knobs import Decoding
from ptft.core.runtimes.found import graph_of


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folders.bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="module")
def bert_onnx(bert):
    return folders.onnx_classifier(bert, bert.with_name("onnx"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.causal(tmp_path_factory.mktemp("llama") / "llama")


@pytest.fixture(scope="module")
def llama_onnx(llama):
    return folders.onnx_with_cache(llama, llama.with_name("onnx"))


def bert_config(architecture, **more):
    return BertConfig(**tiny.sizes(architectures=[architecture], pad_token_id=1, **more))


def labels(count=3):
    return {"id2label": {index: f"label {index}" for index in range(count)}, "num_labels": count}


def bag(folder, config, outputs, **more):
    """The folder of a hand-made graph, loaded, and its weights."""
    folders.onnx_bag(folder, config, outputs, **more)
    return models.load(folder), folders.bag_weights(outputs, config.vocab_size)


def encoded(loaded, texts=tiny.TEXTS):
    return scoring.encode_cut(loaded.tokenizer, texts, None, 64)[0]


# ---------------------------------------------------------------- real exports


def test_an_exported_classifier_says_what_the_torch_model_says(bert, bert_onnx):
    original, exported = models.load(bert), models.load(bert_onnx)
    assert (exported.kind, exported.labels, exported.seq_len) == ("classifier", tiny.LABELS, 64)
    assert exported.runtime.name == "onnxruntime" and exported.runtime.types[0][0] == "F32"
    wanted = scoring.classify(original, encoded(original), 4)
    for batch_size in (1, 3, 4):
        np.testing.assert_allclose(scoring.classify(exported, encoded(exported), batch_size), wanted, atol=1e-5)


def test_what_torchs_newer_exporter_writes(bert, tmp_path):
    original, exported = models.load(bert), models.load(folders.onnx_classifier(bert, tmp_path / "dynamo", dynamo=True))
    wanted = scoring.classify(original, encoded(original), 4)
    np.testing.assert_allclose(scoring.classify(exported, encoded(exported), 3), wanted, atol=1e-4)


def test_int8_is_close_and_smaller(bert, bert_onnx, tmp_path):
    original, quantised = models.load(bert), models.load(folders.int8(bert_onnx, tmp_path / "int8"))
    wanted = scoring.classify(original, encoded(original), 4)
    found = scoring.classify(quantised, encoded(quantised), 4)
    assert 0 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    types = dict(quantised.runtime.types)
    assert types["I8"] > types.get("F32", 0)
    assert sum(types.values()) == pytest.approx(models.count_parameters(original.model)[0], rel=0.05)


def test_parameters_are_counted_without_loading(bert, bert_onnx):
    found = sum(tensor.count for tensor in weights.tensors(bert_onnx))
    # the exporter keeps one of equal tensors: the fresh biases, all zero
    assert found == pytest.approx(sum(tensor.count for tensor in weights.tensors(bert)), rel=0.05)
    assert found == models.count_parameters(models.load(bert_onnx).model)[0]


def test_a_decoder_with_a_cache_is_as_likely_and_writes_the_same(llama, llama_onnx):
    original, exported = models.load(llama), models.load(llama_onnx)
    windows = scoring.windows_for(original, 16)
    wanted = [score.nll for score in scoring.score_texts(original, tiny.TEXTS, windows, 4)]
    found = [score.nll for score in scoring.score_texts(exported, tiny.TEXTS, windows, 3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    ids = original.tokenizer(folders.PROMPTS)["input_ids"]
    assert len({len(row) for row in ids}) > 1  # so that batches are padded
    for settings in ({}, {"num_beams": 3}, {"do_sample": True, "temperature": 3.0, "top_p": 0.9}):
        assert generated(exported, ids, settings) == generated(original, ids, settings)


def test_rows_of_a_cache_go_alone_where_the_graph_cannot_be_told_of_padding(llama, llama_onnx, monkeypatch):
    original, exported = models.load(llama), models.load(llama_onnx)
    monkeypatch.setattr(type(exported.model), "_knows_padding", lambda model: False)
    ids = original.tokenizer(folders.PROMPTS)["input_ids"]
    for settings in ({}, {"num_beams": 3}):
        assert generated(exported, ids, settings) == generated(original, ids, settings)


def generated(loaded, ids, settings):
    """New tokens of each row, from one padded batch."""
    longest = max(map(len, ids))
    rows = torch.tensor([[1] * (longest - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
    torch.manual_seed(7)
    with torch.inference_mode():
        made = loaded.model.generate(input_ids=rows, attention_mask=mask, max_new_tokens=8, pad_token_id=1, **settings)
    return made[:, longest:].tolist()


def test_a_cache_is_carried_on(llama_onnx):
    exported = models.load(llama_onnx)
    ids = torch.tensor([exported.tokenizer(tiny.TEXTS[0])["input_ids"]])
    whole = exported.model(input_ids=ids).logits
    first = exported.model(input_ids=ids[:, :4], use_cache=True)
    rest = exported.model(input_ids=ids[:, 4:], past_key_values=first.past_key_values, use_cache=True)
    assert rest.past_key_values.get_seq_length() == ids.shape[1]
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], dim=1), whole, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- every kind of head, by hand


def test_several_labels_and_a_number(tmp_path):
    many = bert_config("BertForSequenceClassification", problem_type=models.MANY_LABELS, **labels())
    one = bert_config("BertForSequenceClassification", problem_type=models.NUMBER, **labels(1))
    for name, config, width in (("many", many, 3), ("one", one, 1)):
        loaded, arrays = bag(tmp_path / name, config, {"logits": width}, pooled=True)
        rows = encoded(loaded)
        wanted = [arrays["embedding"][row["input_ids"]].sum(0) @ arrays["logits_weight"] for row in rows]
        np.testing.assert_allclose(scoring.classify(loaded, rows, 2), wanted, atol=1e-4)
        assert loaded.problem == config.problem_type and len(loaded.labels) == width


def test_tokens_and_spans_and_masks(tmp_path):
    tags = bert_config("BertForTokenClassification", **labels())
    for name, config, outputs in (
        ("tagger", tags, {"logits": 3}),
        ("span", bert_config("BertForQuestionAnswering"), {"start_logits": 0, "end_logits": 0}),
        ("masked", bert_config("BertForMaskedLM"), {"logits": 400}),
    ):
        loaded, arrays = bag(tmp_path / name, config, outputs)
        assert loaded.kind == name
        ids = loaded.tokenizer(tiny.TEXTS[0])["input_ids"]
        found = loaded.model(input_ids=torch.tensor([ids]))
        for output in outputs:
            wanted = (arrays["embedding"][ids] @ arrays[f"{output}_weight"]).squeeze()
            np.testing.assert_allclose(found[output][0].squeeze().numpy(), wanted, atol=1e-4)


def causal(folder, inputs=("input_ids", "attention_mask"), config=None, **more):
    config = config or LlamaConfig(**tiny.sizes(architectures=["LlamaForCausalLM"], eos_token_id=0, pad_token_id=1))
    return bag(folder, config, {"logits": 400}, causal=True, inputs=inputs, **more)


def by_hand(arrays, ids, count):
    """Greedy tokens of the hand-made decoder, which sums what it has read."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int((arrays["embedding"][ids].sum(0) @ arrays["logits_weight"]).argmax()))
    return ids[-count:]


@pytest.mark.parametrize("inputs", [("input_ids", "attention_mask"), ("input_ids",)], ids=["masked", "ids-only"])
@pytest.mark.parametrize("rotary", [True, False], ids=["rotary", "learnt-positions"])
def test_a_decoder_without_a_cache_reads_anew_and_writes_on(tmp_path, inputs, rotary):
    gpt = GPT2Config(
        vocab_size=400,
        n_embd=32,
        n_layer=1,
        n_head=2,
        architectures=["GPT2LMHeadModel"],
        eos_token_id=0,
        n_positions=64,
    )
    loaded, arrays = causal(tmp_path / "causal", inputs, None if rotary else gpt)
    ids = loaded.tokenizer(folders.PROMPTS)["input_ids"]
    wanted = [by_hand(arrays, row, 6) for row in ids]
    assert not any(0 in row for row in wanted), "the reference must not end early"
    for batch_size in (1, 3):  # of 3: padded
        found = predicting.texts(loaded, ids, Decoding(max_new_tokens=6), batch_size=batch_size)
        assert found == [loaded.tokenizer.decode(row, skip_special_tokens=True).strip() for row in wanted]
    assert len(set(map(tuple, wanted))) > 1


def test_a_cacheless_decoder_goes_on_token_by_token(tmp_path):
    loaded, _ = causal(tmp_path / "causal")
    ids = torch.tensor([loaded.tokenizer(tiny.TEXTS[0])["input_ids"]])
    whole = loaded.model(input_ids=ids).logits
    torch.testing.assert_close(loaded.model(input_ids=ids, logits_to_keep=2).logits, whole[:, -2:])
    cache, parts = None, []
    for place in range(ids.shape[1]):
        made = loaded.model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True)
        cache = made.past_key_values
        parts.append(made.logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["classifier", "tagger"])
def test_a_graph_without_a_mask_never_reads_padding(tmp_path, kind):
    name = "BertForSequenceClassification" if kind == "classifier" else "BertForTokenClassification"
    pooled = kind == "classifier"
    loaded, _ = bag(tmp_path / kind, bert_config(name, **labels()), {"logits": 3}, pooled=pooled, inputs=("input_ids",))
    rows = encoded(loaded)
    alone = [loaded.model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in rows]
    (chosen, together), *_ = scoring.outputs_of(loaded, rows, len(rows))
    for line, index in zip(together.logits, chosen, strict=True):
        own = line if pooled else line[: len(rows[index]["input_ids"])]
        torch.testing.assert_close(own, alone[index], atol=1e-4, rtol=1e-4)


def test_pairs_need_token_types(tmp_path):
    loaded, _ = bag(
        tmp_path / "bag", bert_config("BertForSequenceClassification", **labels()), {"logits": 3}, pooled=True
    )
    ids = torch.tensor([[5, 6, 7]])
    assert loaded.model(input_ids=ids, token_type_ids=torch.zeros_like(ids)).logits.shape == (1, 3)
    with pytest.raises(InputError, match="token_type_ids"):
        loaded.model(input_ids=ids, token_type_ids=torch.tensor([[0, 1, 1]]))


def test_tied_embeddings_stored_twice_count_once(llama, llama_onnx):
    """The exporter folds the transposed embedding into a matrix of its own."""
    total = models.count_parameters(models.load(llama).model)[0]
    proto = onnx.load(llama_onnx / "model.onnx")
    stored = [tuple(tensor.dims) for tensor in proto.graph.initializer]
    assert (400, 32) in stored and (32, 400) in stored
    found = sum(tensor.count for tensor in weights.tensors(llama_onnx))
    assert found == pytest.approx(total, rel=0.01)  # rotary frequencies count, equal norms do once
    untied = tiny.causal(llama.with_name("untied"), tie_word_embeddings=False)
    exported = folders.onnx_with_cache(untied, llama.with_name("untied-onnx"))
    assert sum(tensor.count for tensor in weights.tensors(exported)) == pytest.approx(total + 400 * 32, rel=0.01)


def test_packed_4_bit_weights_count_as_what_they_stand_for(tmp_path):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    folder = tmp_path / "model"
    causal(folder, width=32)
    quantiser = MatMulNBitsQuantizer(onnx.load(folder / "model.onnx"), block_size=16, is_symmetric=False)
    quantiser.process()
    quantiser.model.save_model_to_file(str(folder / "model.onnx"))
    loaded = models.load(folder)
    assert dict(loaded.runtime.types) == {"F32": 400 * 32, "U8": 32 * 400}
    ids = torch.tensor([[5, 6, 7]])
    wanted = by_hand(folders.bag_weights({"logits": 400}, 400, width=32), ids[0].tolist(), 1)
    assert loaded.model(input_ids=ids).logits[0, -1].argmax() == wanted[0]


# ---------------------------------------------------------------- where the graph is, what is wrong with it


def test_graphs_are_found_in_the_onnx_folder_and_weights_of_torch_come_first(tmp_path):
    folder = tmp_path / "model"
    causal(folder)
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    (folder / "onnx" / "model_fp16.onnx").write_bytes(b"another")
    assert graph_of(folder) == folder / "onnx" / "model.onnx"
    assert kind_of(folder) is ONNX and models.load(folder).kind == "causal"
    assert sum(tensor.count for tensor in weights.tensors(folder)) == 400 * 8 + 8 * 400
    (folder / "model.safetensors").write_bytes(b"")
    assert graph_of(folder) is None


def external(folder):
    """The folder's graph with its weights in a file of their own; constants stay."""
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=99)


def test_external_data(tmp_path):
    folder = tmp_path / "model"
    loaded, _ = causal(folder)
    ids = torch.tensor([[5, 6, 7]])
    wanted = loaded.model(input_ids=ids).logits
    external(folder)
    torch.testing.assert_close(models.load(folder).model(input_ids=ids).logits, wanted)
    assert sum(tensor.count for tensor in weights.tensors(folder)) == 400 * 8 + 8 * 400
    data = (folder / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").write_bytes(data[:100])
    with pytest.raises(InputError, match="cut short"):
        models.load(folder)
    (folder / "model.onnx.data").unlink()
    with pytest.raises(InputError, match=r"model\.onnx\.data is not there") as failed:
        models.load(folder)
    assert "beside model.onnx" in failed.value.remedy


def test_weights_outside_the_folder_are_refused(tmp_path):
    folder = tmp_path / "model"
    causal(folder)
    external(folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (tmp_path / "secret").write_bytes(bytes(100_000))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside its folder"):
        models.load(folder)


@pytest.fixture
def classifier(tmp_path):
    folder = tmp_path / "model"
    return folders.onnx_bag(
        folder, bert_config("BertForSequenceClassification", **labels()), {"logits": 3}, pooled=True
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "without config.json"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "without a tokenizer"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no graph" * 9), "corrupt or truncated ONNX"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "no outputs"),
        (lambda folder: (folder / "model.onnx").rename(folder / "a.onnx") and shutil.copy(folder / "a.onnx", folder / "b.onnx"),
         "several ONNX graphs"),
        (lambda folder: [shutil.copy(folder / "model.onnx", folder / f"{part}_model.onnx") for part in ("encoder", "decoder")],
         "encoder and a decoder"),
    ],
    ids=["no-config", "no-tokenizer", "corrupt", "empty", "several", "encoder-decoder"],
)  # fmt: skip
def test_broken_folders(classifier, spoil, message):
    spoil(classifier)
    with pytest.raises(InputError, match=message) as failed:
        models.load(classifier)
    assert failed.value.remedy


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (bert_config("BertForTokenClassification", **labels()), "names a tagger model"),
        (bert_config("BertForQuestionAnswering"), "names a span model .* lacks start_logits"),
        (bert_config("BertForSequenceClassification", **labels(2)), "of 2 labels; the graph's"),
        (bert_config("BertForMaskedLM"), "names a masked model"),
    ],
    ids=["tagger", "span", "labels", "masked"],
)
def test_the_head_must_be_the_configurations(classifier, config, message):
    config.save_pretrained(classifier)
    with pytest.raises(InputError, match=message):
        models.load(classifier)


def test_an_encoder_decoder_and_an_unknown_architecture(classifier):
    (classifier / "config.json").write_text('{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}')
    with pytest.raises(InputError, match="an encoder-decoder in ONNX"):
        models.load(classifier)
    (classifier / "config.json").write_text('{"model_type": "nobody-knows"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        models.load(classifier)


def test_a_graph_that_onnx_runtime_does_not_take(classifier):
    model = onnx.load(classifier / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, classifier / "model.onnx")
    with pytest.raises(InputError, match="ONNX Runtime cannot load it"):
        models.load(classifier)


def test_inputs_that_nobody_feeds(classifier):
    model = onnx.load(classifier / "model.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixel_values", 1, ["batch"]))
    onnx.save(model, classifier / "model.onnx")
    with pytest.raises(InputError, match="pixel_values"):
        models.load(classifier)


def test_fixed_sizes(classifier):
    model = onnx.load(classifier / "model.onnx")
    for value in model.graph.input:
        for size, dimension in zip((1, 4), value.type.tensor_type.shape.dim, strict=True):
            dimension.dim_value = size
    onnx.save(model, classifier / "model.onnx")
    loaded = models.load(classifier)
    with pytest.raises(InputError, match="inputs of these sizes") as failed:
        scoring.classify(loaded, encoded(loaded), 2)
    assert "dynamic axes" in failed.value.remedy


def test_the_path_of_a_graph(classifier):
    with pytest.raises(InputError, match="alone is no model") as failed:
        models.load(classifier / "model.onnx")
    assert str(classifier) in failed.value.remedy
