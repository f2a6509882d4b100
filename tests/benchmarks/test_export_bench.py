"""The benchmark of export makes what its table names, gives everybody the same rows, and judges as it says."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

import ptft

FOLDER = Path(__file__).parents[2] / "benchmarks"
ALONE = Path(ptft.__file__).parent / "stages" / "export" / "alone"
SCRIPTS = ("common", "measure", "judging", "generate", "with_torch", "export")  # plain names, which others may have too
Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """A module of benchmarks/ or of the scripts that it runs, which finds its neighbours as when it is run."""
    for name in (*SCRIPTS, "finetuning"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = set(sys.modules)
    for folder in (ALONE, FOLDER / "export_peers", FOLDER):
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in SCRIPTS or str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("table", ["rows", "classifier", "gpu"])
def test_every_row_is_one_that_its_format_holds(module: Module, table: str) -> None:
    from ptft.stages.export.asked import asked_of
    from ptft.stages.export.formats.held import FORMATS
    from ptft.stages.export.recipe import ExportRecipe

    rows = module(f"exporting.{table}").ROWS
    assert len({row.name for row in rows}) == len(rows)
    recipe = ExportRecipe(calibration="rows.jsonl", bits_per_weight=4.5)
    for row in rows:
        assert [bool(kind) for kind in (row.format, row.make, row.where)].count(True) == 1
        assert not row.format or not FORMATS[row.format].lacks(asked_of(row.scheme), recipe)
        assert not row.needs or row.needs in {other.name for other in rows}


def test_full_precision_is_always_there_to_compare_with(module: Module) -> None:
    chosen, rows = module("export").chosen, module("exporting.rows").ROWS
    assert [row.name for row in chosen(rows, "ptft gguf int8,llama.cpp q8*")] == [
        "fp32", "ptft gguf int8", "llama.cpp q8_0",
    ]  # fmt: skip
    assert chosen(rows, "") == list(rows)


@pytest.fixture
def bench(module: Module, tmp_path: Path) -> Any:
    """Of a folder without weights."""
    data, measuring = module("exporting.data"), module("exporting.measuring")
    for name in ("windows.npy", "calibration.npy", "calibration.jsonl"):
        (tmp_path / name).write_bytes(b"rows")
    paths = (tmp_path / "windows.npy", tmp_path / "calibration.npy", tmp_path / "calibration.jsonl")
    held = data.Held(*paths, chinese=(False, True), calibrating=("calibration_rows=2",))
    return measuring.Bench(held, tmp_path / "model", tmp_path / "cache", threads=1, compared=1, repeats=1)


def _exporting(bad: str, calls: list[list[object]]) -> Callable[..., None]:
    """ptft's command line, which cannot make one scheme."""

    def command(*arguments: object, threads: int) -> None:
        calls.append(list(arguments))
        schemes = str(arguments[arguments.index("--to") + 1]).split(",")
        if bad in schemes:
            raise RuntimeError(f"no {bad} today")
        out = Path(str(arguments[-1]))
        for scheme in schemes:
            (out if len(schemes) == 1 else out / f"{scheme}-{arguments[arguments.index('--format') + 1]}").mkdir(
                parents=True, exist_ok=True
            )

    return command


def test_rows_of_a_format_are_one_call(module: Module, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    making, calls = module("exporting.making"), []
    monkeypatch.setattr(making, "command", _exporting("none", calls))
    rows = [making.ours("int8", "onnx"), making.ours("mixed", "onnx"), making.ours("int8", "gguf")]
    found = making.made(rows, rows, bench)
    assert len(calls) == 2
    assert "int8,mixed" in calls[0] and "--bits-per-weight" in calls[0] and "--bits-per-weight" not in calls[1]
    assert calls[0][calls[0].index("--calibration") + 1] == bench.held.texts and "calibration_rows=2" in calls[0]
    assert all(isinstance(path, Path) and path.is_dir() for path in found.values())
    assert len(set(found.values())) == 3 and found["ptft onnx mixed"].name == "mixed-onnx"


def test_one_scheme_that_fails_takes_no_other_with_it(module: Module, bench: Any, monkeypatch: Any) -> None:
    making, calls = module("exporting.making"), []
    monkeypatch.setattr(making, "command", _exporting("int4-hqq", calls))
    rows = [making.ours(scheme, "onnx") for scheme in ("int8", "int4-hqq", "fp16")]
    found = making.made(rows, rows, bench)
    assert len(calls) == 4
    assert isinstance(found["ptft onnx int4-hqq"], RuntimeError)
    assert found["ptft onnx int8"].is_dir() and found["ptft onnx fp16"].is_dir()


def test_a_peer_is_made_once_after_what_it_needs(module: Module, bench: Any, monkeypatch: Any) -> None:
    making, rows = module("exporting.making"), module("exporting.rows")
    monkeypatch.setattr(making, "command", _exporting("none", []))
    made = []

    def by_script(name: str, environment: str, given: dict, _: Any, out: Path) -> Path:
        assert Path(given["source"]).parent.is_dir()
        made.append(name)
        out.mkdir()
        return out

    monkeypatch.setattr(rows, "by_script", by_script)
    row = next(row for row in rows.ROWS if row.name == "llama.cpp q8_0")
    first, again = (making.made([row], rows.ROWS, bench) for _ in range(2))
    assert first == again and first["llama.cpp q8_0"].is_dir() and made == ["llama_quantize.py"]


def test_a_folder_that_is_there_already_is_left_alone(module: Module, bench: Any) -> None:
    making, rows = module("exporting.making"), module("exporting.rows")
    mine = bench.cache / "export" / "made" / "model" / "mine"
    mine.mkdir(parents=True)
    row = rows.folder(f"mine=onnx:{mine}")
    assert making.made([rows.ORIGINAL, row], rows.ROWS, bench) == {"fp32": bench.original, "mine": mine}
    assert mine.is_dir()


# ---------------------------------------------------------------- text


@pytest.fixture
def held(module: Module, tmp_path: Path) -> Any:
    data = module("exporting.data")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    rows = [{"text": f"{text} {n}"} for n in range(400) for text in tiny.TEXTS]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data.held(tmp_path / "base", tmp_path, tmp_path / "out", rows=6, calibration=3, seed=1)


def test_held_out_windows_take_turns_of_language(module: Module, held: Any) -> None:
    windows = np.load(held.windows)
    assert windows.shape == (6, module("exporting.data").LENGTH) and held.chinese == (False, True) * 3
    said = [tiny.tokenizer().decode(row) for row in windows]
    assert [module("exporting.data").is_chinese(text) for text in said] == list(held.chinese)


def test_ptft_calibrates_with_the_tokens_that_the_others_get(held: Any) -> None:
    from ptft.core.quantising.statistics import calibration_of

    model = SimpleNamespace(config=SimpleNamespace(pad_token_id=1), device="cpu")
    loaded: Any = SimpleNamespace(kind="causal", tokenizer=tiny.tokenizer(), seq_len=512, model=model)
    texts = [json.loads(line)["text"] for line in held.texts.read_text(encoding="utf-8").splitlines()]
    settings = dict(option.split("=") for option in held.calibrating)
    rows, length = int(settings["calibration_rows"]), int(settings["calibration_length"])
    batches = calibration_of(loaded, texts, rows=rows, length=length).batches
    ids = np.concatenate([batch["input_ids"].numpy() for batch in batches])
    assert ids.shape == (3, 256) and np.array_equal(ids, np.load(held.calibration))


# ---------------------------------------------------------------- figures


def _entry(module: Module, name: str, nats: Sequence[float], speed: float = 100.0, kl: float = 0.01, **row: Any) -> Any:
    """An entry whose windows have these nats a token."""
    causal, making, measuring = (module(f"exporting.{name}") for name in ("causal", "making", "measuring"))
    quality = measuring.Quality(np.array(nats)[:, None] * np.ones(4), kl, 0.9)
    found = measuring.Speed(1, 1, {1: 0.1, 8: 0.1}, {1: speed, 8: 2 * speed}, 10, 5, 1.0)
    return causal.Entry(
        making.Row(name, row.pop("runtime", measuring.TORCH), **row), Path("here"), quality, [found]
    )  # fmt: skip


def test_a_ratio_is_paired(module: Module) -> None:
    ratio = module("exporting.measuring").ratio
    one, other = (_entry(module, "a", nats).quality for nats in ([2.0, 5.0, 9.0], [1.9, 4.9, 8.9]))
    assert ratio(one, other) == (pytest.approx(np.exp(0.1)), pytest.approx(0, abs=1e-9))
    assert ratio(one, other, np.array([True, False, False]))[0] != ratio(one, other)[0]  # one window has no interval


def test_what_is_slower_is_said_to_be(module: Module) -> None:
    causal, base = module("exporting.causal"), _entry(module, "fp32", [1.0, 2.0])
    slow, fast = (_entry(module, name, [1.0, 2.0], speed) for name, speed in (("slow", 50.0), ("fast", 300.0)))
    entries = [base, slow, fast]
    assert causal.times(slow.speed, causal.base_of(entries, "torch"), 1, "slower") == "0.50x slower"
    assert causal.times(fast.speed, causal.base_of(entries, "torch"), 1, "slower") == "3.00x"
    assert causal.base_of(entries, "generate") is None


def test_a_line_has_a_cell_for_each_column(module: Module, tmp_path: Path) -> None:
    causal, base = module("exporting.causal"), _entry(module, "fp32", [1.0, 2.0])
    base.path = tmp_path / "model.safetensors"
    base.path.write_bytes(bytes(2_000_000))
    failed = causal.Entry(base.row, failed="no wheel")
    shown = [
        dict(zip(causal.HEAD, causal.cells(entry, [base], (False, True)), strict=True)) for entry in (base, failed)
    ]
    assert shown[0]["MB"] == "2.0" and shown[0]["perplexity x"].startswith("1.0000")
    assert shown[0]["zh x"] == "-"  # one window of it
    assert shown[1]["MB"] == "failed: no wheel"


def test_aims_are_held_against_what_was_measured(module: Module) -> None:
    aims, measuring = module("exporting.aims"), module("exporting.measuring")
    base = np.array([3.0, 4.0, 5.0])

    def entry(name: str, loss: float, speed: float, scheme: str = "", form: str = "", **more: Any) -> Any:
        return _entry(module, name, base + loss + [0, 1e-4, -1e-4], speed, scheme=scheme, format=form, **more)

    entries = [
        entry("fp32", 0, 100),
        entry("fp32, generate()", 0, 50, runtime=measuring.GENERATE),
        entry("ptft onnx int8", 0.004, 250, "int8", "onnx"),
        entry("ptft gguf int8", 0.006, 90, "int8", "gguf"),
        entry("ptft onnx int4-rtn-g32", 0.05, 500, "int4-rtn-g32", "onnx", kl=0.03),
        entry("ptft onnx int4-gptq-g32", 0.02, 500, "int4-gptq-g32", "onnx"),
        entry("ptft compressed-tensors int4-gptq-g32", 0.03, 60, "int4-gptq-g32", "compressed-tensors"),
        entry("llm-compressor int4-gptq-g32", 0.02, 60, kl=0.02),
    ]
    met = {
        aim: verdict
        for find in (aims.losses, aims.calibration, aims.peers, aims.speeds)
        for aim, _, verdict in find(entries)
    }
    assert [verdict for aim, verdict in met.items() if aim.startswith("INT8, the worst")] == ["no"]
    assert [verdict for aim, verdict in met.items() if aim.startswith("INT4 in groups")] == ["yes"]
    assert met["ptft onnx int4-gptq-g32 better than int4-rtn-g32"] == "perplexity: yes; KL: yes"
    assert (
        met["ptft compressed-tensors int4-gptq-g32 at least as good as llm-compressor's"] == "perplexity: no; KL: yes"
    )
    assert met["INT8 3x torch fp32 in generation"] == "steps: no; generate(): yes"
    assert met["INT4 4x torch fp32 in generation"] == "steps: yes; generate(): yes"
    assert aims.slower(entries)[0][1] == "ptft gguf int8 (0.90x), ptft compressed-tensors int4-gptq-g32 (0.60x)"


def test_a_file_is_held_against_the_size_that_export_json_expects(module: Module, tmp_path: Path) -> None:
    entry = _entry(module, "ptft gguf int8", [1.0, 2.0], scheme="int8", format="gguf")
    entry.path = tmp_path
    (tmp_path / "model.gguf").write_bytes(bytes(1_070))
    (tmp_path / "export.json").write_text(json.dumps({"bytes": {"expected": {"total": 1_000}}}))
    assert module("exporting.aims").sizes([entry])[0][1:] == ("+7.0% at most, ptft gguf int8", "no")


def test_the_classifiers_line_counts_points(module: Module) -> None:
    classifier, labels = module("exporting.classifier"), [0, 1, 0, 1]
    right = np.eye(2)[labels]
    base = classifier.Found(right, {1: 0.1, 8: 0.5}, 10**6, 10**6)
    worse = classifier.Found(right[[0, 1, 1, 1]], {1: 0.2, 8: 0.4}, 10**6, 2 * 10**6)
    shown = dict(zip(classifier.HEAD[2:], classifier.shown(worse, base, labels), strict=True))
    assert shown["MB"] == "2.0" and shown["macro F1"] == "73.33" and shown["points from fp32"] == "-26.67"
    assert shown["same class"] == "75.0%" and shown["largest logit error"] == "1.000"
    assert (shown["ms a text"], shown["ms for 8"]) == ("200.0 slower", "400.0")


def test_a_provider_that_is_not_there_is_named(module: Module) -> None:
    gpu = module("exporting.gpu")
    there, missing = gpu.usable(gpu.ROWS, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert len(there) == len(gpu.ROWS) - 1 and "TensorrtExecutionProvider" in missing[0]


def test_tokens_of_generate_are_timed_as_they_come(module: Module, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    generate = module("generate")
    network = LlamaForCausalLM.from_pretrained(tiny.causal(tmp_path / "base"))
    ticks = iter(range(100))
    prompts = torch.randint(5, 400, (2, 7), generator=torch.Generator().manual_seed(1))
    first, rest, said = generate.generated(network, prompts, 5, lambda: float(next(ticks)))
    assert said.shape == (2, 13) and (first, rest) == (2.0, 5.0)  # the prompt and the first token, then a tick a token
