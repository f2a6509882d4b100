"""ONNX exports against torch: the same answers where the arithmetic is the same, in a process that has no ptft."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import InputError, RunError
from ptft.core.models import Loaded, load
from ptft.core.quantising.activations import quantised_inputs, ranges
from ptft.core.quantising.applying import applied
from ptft.core.quantising.planning import plan_for
from ptft.core.quantising.scheme import Quantised, Scheme
from ptft.core.quantising.statistics import calibration_of
from ptft.core.weights import tensors
from ptft.stages.export.formats.onnx import graph_of, how_to_load, require_faithful, write
from ptft.stages.export.formats.onnx_operators import Tracer, _is_rotary
from ptft.stages.export.formats.onnx_weights import Arithmetic
from ptft.stages.export.verifying import processes

FLOAT = 1  # accuracy_level: the arithmetic of torch
SCHEMES = {
    "int4": (Scheme(4, 32), Scheme(8, 32)), "int4-asymmetric": (Scheme(4, 32, False), Scheme(8, 32, False)),
    "int4-everywhere": (Scheme(4, 32), Scheme(4, 32, False)), "int8": (Scheme(8, 0), Scheme(8, 0)),
}  # fmt: skip

LARGE = {
    "vocab_size": 4000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_key_value_heads": 1,
}  # beside the graph itself
WIDTH = 32  # of a head
_SCALED = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4}
OUTSIDE = """
import json, sys
sys.modules["ptft"] = sys.modules["torch"] = None  # any import of them fails
import numpy as np, onnxruntime, tokenizers
for folder in json.loads(sys.argv[1]):
    session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
    config = json.load(open(folder + "/config.json", encoding="utf-8"))
    text = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode(sys.argv[2]).ids
    inputs = {found.name: found.shape for found in session.get_inputs()}
    past = {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in inputs.items() if "past" in name}
    ids, seen, rows = np.array([text]), 0, []
    while True:
        seen += ids.shape[1]
        given = {"input_ids": ids, "attention_mask": np.ones((1, seen), np.int64), "token_type_ids": np.zeros_like(ids),
                 "position_ids": np.arange(seen - ids.shape[1], seen)[None]}
        found = session.run(None, {name: given[name] for name in inputs if name in given} | past)
        rows.append(found[0])
        if not past or seen > len(text) + 4:
            break
        past, ids = dict(zip(past, found[1:])), found[0][:, -1:].argmax(-1)
    np.save(folder + "/outside.npy", np.concatenate(rows, 1))
    assert config["model_type"]
"""


@dataclass(frozen=True)
class Traced:
    """A model and its graph, traced once. restore: the weights as they were."""

    loaded: Loaded
    graph: Any
    restore: Callable[[], None]


def traced(folder: Path, checkpoint: Path, **how: Any) -> Traced:
    loaded = load(checkpoint)
    kept = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    return Traced(loaded, graph_of(loaded, folder / "scratch", **how), lambda: loaded.model.load_state_dict(kept))


def one_layer(make: Callable[[Path], Path], folder: Path) -> Path:
    """A model of `tiny` with one layer less: tracing takes half a second a layer."""
    sizes = tiny.sizes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "sizes", lambda **more: sizes(**{"num_hidden_layers": 1, **more}))
        return make(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp("llama")
    return traced(folder, tiny.causal(folder / "model", **LARGE))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp("bert")
    return traced(folder, one_layer(tiny.bert_classifier, folder / "model"))


def exported(made: Traced, out: Path, scheme: Scheme, outer: Scheme | None = None, level: Any = FLOAT) -> Path:
    """The model of `made` becomes what the integers stand for; its graph shares its memory."""
    made.restore()
    plan = plan_for(made.loaded.model, scheme, outer=outer)
    write(made.loaded, applied(made.loaded.model, plan), out, Arithmetic(accuracy_level=level), graph=made.graph)
    return out


def logits(model: Any, rows: int = 1, padded: int = 0) -> Any:
    """Of ids that are the same everywhere; padded: of the last row, on the left."""
    import torch

    ids = torch.arange(3, 3 + 10 * rows).reshape(rows, 10)
    mask = torch.ones_like(ids)
    mask[-1, :padded] = 0
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).logits.float().numpy()


# ---------------------------------------------------------------- decoders


def test_a_decoder_answers_and_generates_where_ptft_is_not(llama: Traced, tmp_path: Path) -> None:
    import torch

    text, folders = tiny.TEXTS[1], []
    for name, schemes in SCHEMES.items():
        folders.append(exported(llama, tmp_path / name, *schemes))
        ids = llama.loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            whole = llama.loaded.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=None
            )
            np.save(folders[-1] / "expected.npy", llama.loaded.model(input_ids=whole[:, :-1]).logits.numpy())
    done = subprocess.run([sys.executable, "-c", OUTSIDE, json.dumps(list(map(str, folders))), text], cwd=tmp_path)
    assert done.returncode == 0
    for folder in folders:
        found, expected = (np.load(folder / f"{name}.npy") for name in ("outside", "expected"))
        assert found.shape == expected.shape
        assert np.allclose(found, expected, atol=1e-3)


def test_ptft_loads_it_and_rows_of_unlike_length_do_not_disturb_each_other(llama: Traced, tmp_path: Path) -> None:
    folder = exported(llama, tmp_path / "int8", Scheme(8, 0))
    again = load(folder)
    assert again.runtime is not None and dict(again.runtime.types)["U8"] > 30_000
    found, expected = logits(again.model, 2, padded=4), logits(llama.loaded.model, 2, padded=4)
    assert np.allclose(found[0], expected[0], atol=1e-3) and np.allclose(found[1, 4:], expected[1, 4:], atol=1e-3)


def test_several_tokens_after_a_cache_of_several_rows(llama: Traced, tmp_path: Path) -> None:
    """What scoring of answers to one prompt asks for; ONNX Runtime's attention takes it with `query_seqlens` alone."""
    import onnxruntime

    llama.restore()
    write(llama.loaded, {}, tmp_path, graph=llama.graph)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids, past = np.arange(3, 23).reshape(2, 10), {
        found.name: np.zeros((2, 1, 0, WIDTH), np.float32) for found in session.get_inputs() if "past" in found.name
    }  # fmt: skip
    made = []
    for start, stop in ((0, 4), (4, 9), (9, 10)):
        given = {"input_ids": ids[:, start:stop], "attention_mask": np.ones((2, stop), np.int64)}
        given["position_ids"] = np.tile(np.arange(start, stop), (2, 1))
        found = session.run(None, given | past)
        made.append(found[0])
        past = dict(zip(past, found[1:], strict=True))
    assert np.allclose(np.concatenate(made, 1), logits(llama.loaded.model, 2), atol=1e-4)


def packed_bytes(weight: Quantised) -> int:
    """Integers in as many bits as they have, scales in float16, zero points."""
    zeros = 0 if weight.zeros is None else weight.zeros.numel() * weight.bits
    return (weight.ints.numel() * weight.bits + weight.scales.numel() * 16 + zeros + 7) // 8


def test_tied_weights_are_stored_once_and_sizes_are_those_of_the_scheme(llama: Traced, tmp_path: Path) -> None:
    made = llama
    for name, (scheme, outer) in SCHEMES.items():
        made.restore()
        plan = plan_for(made.loaded.model, scheme, outer=outer)
        quantised = applied(made.loaded.model, plan)
        write(made.loaded, quantised, tmp_path / name, graph=made.graph)
        norms = 4 * sum(p.numel() for key, p in made.loaded.model.named_parameters() if key not in quantised)
        stored = (tmp_path / name / "model.onnx").stat().st_size
        graph = 40_000  # of nodes and names
        repeated = 5_000 * 2 if name == "int8" else 0  # scales of blocks for the one of a channel
        expected = sum(packed_bytes(weight) for weight in quantised.values()) + norms
        assert expected <= stored <= expected * 1.02 + graph + repeated
        table = [found for found in tensors(tmp_path / name) if 4000 in found.shape and found.dtype != "F16"]
        assert len(table) == 1


def test_faster_arithmetic_stays_near(llama: Traced, tmp_path: Path) -> None:
    for name in ("int4", "int8"):
        found = logits(load(exported(llama, tmp_path / name, *SCHEMES[name], level=4)).model)
        expected = logits(llama.loaded.model)
        assert 0 < np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def test_integers_for_activations_too(llama: Traced, tmp_path: Path) -> None:
    """Dynamic and static W8A8: as torch with inputs rounded as they are (dynamic: to one scale a pass, not one a token)."""
    llama.restore()
    model, calibration = llama.loaded.model, calibration_of(llama.loaded, tiny.TEXTS)
    for kind, close in (("dynamic", 0.05), ("static", 0.01)):
        llama.restore()
        plan = plan_for(model, Scheme(8, 0, activations=kind))
        found = ranges(model, plan, calibration)
        quantised = applied(model, plan)
        write(llama.loaded, quantised, tmp_path / kind, Arithmetic.of(plan, found), graph=llama.graph)
        with quantised_inputs(model, plan, found):
            expected = logits(model)
        answers = logits(load(tmp_path / kind).model)
        assert 0 < np.abs(answers - expected).max() < close * np.abs(expected).max()


def test_halves_of_gpt2_whose_matrices_are_stored_the_other_way_round(tmp_path: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    sizes = {"vocab_size": 400, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    made = traced(tmp_path, tiny._saved(model, tmp_path / "model", 3.0), half=True)
    write(made.loaded, {}, tmp_path / "fp16", graph=made.graph)
    assert {found.dtype for found in tensors(tmp_path / "fp16")} == {"F16"}
    assert made.loaded.model.dtype.itemsize == 4
    plain = logits(made.loaded.model)
    exported(made, tmp_path / "int4", Scheme(4, 32))
    for name, expected in (("fp16", plain), ("int4", logits(made.loaded.model))):
        found = logits(load(tmp_path / name).model)
        assert np.abs(found - expected).max() < 0.005 * np.abs(expected).max()


def test_logits_of_the_last_tokens_alone(llama: Traced, tmp_path: Path) -> None:
    """An input that need not be given: sessions do not name it, and without it, or with 0, there are logits of every token."""
    import onnxruntime

    folder = exported(llama, tmp_path / "int8", Scheme(8, 0))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert "num_logits_to_keep" not in {found.name for found in session.get_inputs()}
    past = {
        found.name: np.zeros((2, 1, 0, WIDTH), np.float32) for found in session.get_inputs() if "past" in found.name
    }
    ids = np.arange(3, 23).reshape(2, 10)
    given = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.tile(np.arange(10), (2, 1)),
        **past,
    }
    whole = session.run(["logits"], given)[0]
    assert whole.shape[1] == 10
    for count in (0, 1, 3):
        found = session.run(["logits"], given | {"num_logits_to_keep": np.array([count])})[0]
        assert np.allclose(found, whole[:, -count:], atol=1e-5) and found.shape == whole[:, -count:].shape


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script that runs graphs outside of ptft, as a module; its shared buffers grow after 3 tokens."""
    monkeypatch.syspath_prepend(str(processes.SCRIPT.parent))
    try:
        module = importlib.import_module("with_onnx")
        monkeypatch.setattr(module, "ROOM", 3)
        yield module
    finally:
        for name in ("with_onnx", "common"):
            sys.modules.pop(name, None)


def test_one_buffer_as_past_and_present_gives_the_same(
    llama: Traced, tmp_path: Path, alone: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """One row and eight, prompts after longer ones, buffers that grow: as with a cache that each step makes anew."""
    import onnx

    folder = exported(llama, tmp_path / "shared", *SCHEMES["int4"], level=4)
    shutil.copytree(folder, tmp_path / "apart")
    graph = onnx.load(tmp_path / "apart" / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "apart" / "model.onnx")
    shared, apart = (alone.Model(tmp_path / name) for name in ("shared", "apart"))
    assert shared.shares and not apart.shares
    assert "onnxruntime" not in capfd.readouterr().err
    draw = np.random.default_rng(0)
    for rows, tokens in ((8, 12), (1, 20), (1, 5), (8, 3)):
        ids = draw.integers(5, 400, (rows, tokens))
        assert np.allclose(shared.logits(ids[0]), apart.logits(ids[0]), atol=1e-5)
        said = shared.start(ids)
        assert np.array_equal(said, apart.start(ids))
        for _ in range(8):
            fresh = [model._pass(said[:, None]) for model in (shared, apart)]
            assert np.allclose(*fresh, atol=1e-5) and fresh[0].shape == (rows, 1, 4000)
            said = fresh[1][:, -1].argmax(-1)
        assert shared.length == apart.length == tokens + 8 <= shared.capacity
        held = {value.data_ptr() for value in shared.binding.get_outputs()}
        assert {value.data_ptr() for value in shared.cache.values()} < held  # what goes in is what comes out


def test_a_prompt_costs_the_output_layer_once(llama: Traced, tmp_path: Path, alone: Any) -> None:
    folder = exported(llama, tmp_path / "int8", *SCHEMES["int8"])
    made, ids = alone.Model(folder), np.arange(5, 25).reshape(2, 10)
    made._forget(2, 10)
    whole = made._pass(ids)
    made._forget(2, 10)
    last = made._pass(ids, kept=1)
    assert whole.shape == (2, 10, 4000) and last.shape == (2, 1, 4000)
    assert np.allclose(whole[:, -1:], last, atol=1e-5)


def test_generating_asks_for_logits_of_the_last_token_alone(
    llama: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With beams and padding on the left, what is said is what the model says; ONNX Runtime's warning of that input is not seen."""
    import torch

    folder = exported(llama, tmp_path / "int8", *SCHEMES["int8"])
    again, asked = load(folder), []
    assert "onnxruntime" not in capfd.readouterr().err
    session = again.model.session
    run = session.run
    monkeypatch.setattr(session, "run", lambda given: asked.append(run(given)) or asked[-1])
    ids = torch.arange(5, 21).reshape(2, 8)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    ids[1, :3] = 1
    for beams in (1, 3):
        how = {
            "attention_mask": mask,
            "max_new_tokens": 6,
            "do_sample": False,
            "num_beams": beams,
            "eos_token_id": None,
        }
        with torch.inference_mode():
            said = [found.model.generate(ids, **how).tolist() for found in (again, llama.loaded)]
        assert said[0] == said[1]
    assert {tuple(found["logits"].shape[1:]) for found in asked} == {(1, 4000)}
    assert again.model(input_ids=ids).logits.shape == (2, 8, 4000)
    assert np.allclose(again.model(input_ids=ids, logits_to_keep=2).logits, again.model(input_ids=ids).logits[:, -2:])


def test_a_decoder_has_no_views_around_attention_and_sums_in_its_norms(llama: Traced) -> None:
    kinds = [node.op_type for node in llama.graph.graph]
    assert kinds.count("GroupQueryAttention") == 2 and kinds.count("RotaryEmbedding") == 4
    assert kinds.count("SkipSimplifiedLayerNormalization") == 4 and kinds.count("SimplifiedLayerNormalization") == 1
    parameters = 15  # matrices, of which the embedding is the output layer too
    assert kinds.count("Transpose") <= parameters and kinds.count("Cos") == kinds.count("Sin") == 1


def test_past_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 2: a window of 4, scores and logits with soft caps; 24 tokens."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(1)
    more = {"num_hidden_layers": 1, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16}
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0}
    model = Gemma2ForCausalLM(Gemma2Config(**tiny.sizes(**more, **ends, sliding_window=4))).eval()
    loaded = Loaded(model, tiny.tokenizer(), "causal", (), 64, tmp_path)
    monkeypatch.setattr("ptft.stages.export.formats.onnx.TRIED", 24)
    graph = graph_of(loaded, tmp_path / "scratch")
    assert "GroupQueryAttention" in {node.op_type for node in graph.graph}  # nothing fell back
    assert require_faithful(loaded, graph, tmp_path / "again") < 1e-5


def test_a_checkpoint_in_bfloat16_past_the_length_that_its_frequencies_were_scaled_from(tmp_path: Path) -> None:
    import torch

    rope = {**_SCALED, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    folder = tiny.causal(tmp_path / "model", num_hidden_layers=1, attention_bias=True, rope_parameters=rope)
    load(folder).model.to(torch.bfloat16).save_pretrained(folder)
    half = load(folder)
    assert half.model.dtype.itemsize == 2
    write(half, {}, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]  # nothing is left of the scratch folder
    found, expected = (logits(load(path, dtype="float32").model) for path in (tmp_path / "out", folder))
    assert np.allclose(found, expected, atol=1e-4)


def test_rotary_tables_are_those_of_the_family() -> None:
    """YaRN, whose cosines are scaled too; frequencies that hang on the length are left to plain tracing."""
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    positions = torch.tensor([[0, 3, 40], [7, 8, 9]])
    for kind, ours in (("yarn", True), ("linear", True), ("dynamic", False)):
        made = LlamaRotaryEmbedding(LlamaConfig(**tiny.sizes(rope_parameters={**_SCALED, "rope_type": kind})))
        assert _is_rotary(made) == ours
        if ours:
            tables = Tracer().turn(made, torch.zeros(1), positions)
            torch.testing.assert_close(tables, made(torch.zeros(1), positions))


# ---------------------------------------------------------------- heads


def test_a_classifier_answers_where_ptft_is_not(bert: Traced, tmp_path: Path) -> None:
    folders = [exported(bert, tmp_path / name, *SCHEMES[name]) for name in ("int4", "int8")]
    expected = []
    for name in ("int4", "int8"):
        bert.restore()
        applied(bert.loaded.model, plan_for(bert.loaded.model, SCHEMES[name][0], outer=SCHEMES[name][1]))
        ids = bert.loaded.tokenizer(tiny.TEXTS[0], return_tensors="pt")["input_ids"]
        expected.append(bert.loaded.model(input_ids=ids).logits.detach().numpy())
    done = subprocess.run([sys.executable, "-c", OUTSIDE, json.dumps(list(map(str, folders))), tiny.TEXTS[0]])
    assert done.returncode == 0
    for folder, wanted in zip(folders, expected, strict=True):
        assert np.allclose(np.load(folder / "outside.npy"), wanted, atol=1e-3)


@pytest.mark.parametrize("make", [tiny.mean_pooled, tiny.llama_classifier], ids=["mean", "last"])
def test_classifiers_on_decoders(make: Callable[[Path], Path], tmp_path: Path) -> None:
    made = traced(tmp_path, one_layer(make, tmp_path / "model"))
    folder = exported(made, tmp_path / "int8", Scheme(8, 0))
    assert np.allclose(logits(load(folder).model, 3, 2), logits(made.loaded.model, 3, 2), atol=1e-3)


# ---------------------------------------------------------------- what cannot be


def test_what_cannot_be_exported_says_so(llama: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}
    mamba = Loaded(MambaForCausalLM(MambaConfig(**sizes)), tiny.tokenizer(), "causal", (), 64, tmp_path)
    with pytest.raises(InputError, match="a mamba model cannot be traced"):
        graph_of(mamba, tmp_path / "scratch")
    with pytest.raises(InputError, match="encoder-decoder"):
        graph_of(load(tiny.seq2seq(tmp_path / "t5")), tmp_path / "scratch")
    quantised = applied(llama.loaded.model, plan_for(llama.loaded.model, Scheme(8, 0)))
    with pytest.raises(InputError, match="no weight 'other'"):
        write(llama.loaded, {"other": next(iter(quantised.values()))}, tmp_path / "x", graph=llama.graph)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(RunError, match="no room"):
        write(llama.loaded, {}, tmp_path / "x", graph=llama.graph)
    assert not (tmp_path / "scratch").exists()


def test_a_graph_that_is_not_the_model_is_found_out(llama: Traced, tmp_path: Path) -> None:
    llama.restore()
    assert require_faithful(llama.loaded, llama.graph, tmp_path / "scratch") < 1e-5
    other = load(tiny.causal(tmp_path / "other", **LARGE, rms_norm_eps=0.5))
    with pytest.raises(InputError, match="answers otherwise"):
        require_faithful(other, llama.graph, tmp_path / "scratch")


def test_large_weights_go_into_a_file_beside_the_graph(
    llama: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptft.stages.export.formats.onnx.LARGEST_FILE", 1000)
    folder = exported(llama, tmp_path / "int8", Scheme(8, 0))
    assert {"model.onnx", "model.onnx.data"} <= {path.name for path in folder.iterdir()}
    assert np.allclose(logits(load(folder).model), logits(llama.loaded.model), atol=1e-3)
    assert "onnxruntime" in how_to_load(llama.loaded)
