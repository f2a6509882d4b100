"""The scripts that know no ptft, in processes of their own: how they end, and what runs in them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ptft.core.errors import RunError
from ptft.core.models import Loaded, load
from ptft.stages.export.recipe import ExportRecipe
from ptft.stages.export.rows import texts_of
from ptft.stages.export.verifying import Verifier, processes

Fake = Callable[[str, str], None]
OPTIONS = {"runtime": "onnx", "settings": {}, "what": ["rows"], "clock": "wall", "folder": "/folder"}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A module that the processes find before any installed one: fake(name, source)."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(textwrap.dedent(source))

    return write


def failure(tmp_path: Path, **options: Any) -> RunError:
    with pytest.raises(RunError) as caught:
        processes.run({**OPTIONS, **options}, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()  # nobody takes it for a result
    assert "/folder" in str(caught.value)
    return caught.value


# ---------------------------------------------------------------- how they end


@pytest.mark.parametrize(
    ("source", "says", "remedy"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ONNX Runtime crashed (SIGSEGV)", "another build"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "memory", "verify_rows"),
        ("raise MemoryError", "ran out of memory", "verify_rows"),
        ("raise RuntimeError('std::bad_alloc')", "ran out of memory", "verify_rows"),
        ("raise OSError(28, 'No space left on device')", "disk is full", "free some space"),
        ("raise ModuleNotFoundError('No module', name='onnxruntime')", "cannot verify", 'pip install "onnxruntime"'),
        ("raise ImportError('needs compressed-tensors')", "cannot verify", 'pip install "compressed-tensors"'),
        ("raise SystemExit('it will not')", "it will not", "--format"),
        ("import os; os._exit(7)", "ended with 7", "--format"),
        ("import ptft", "ptft", "pip install"),  # which this environment has
    ],
)
def test_a_process_that_fails_says_how(fake: Fake, tmp_path: Path, source: str, says: str, remedy: str) -> None:
    fake("onnxruntime", source)
    error = failure(tmp_path)
    assert says in error.message and remedy in error.remedy


def test_a_provider_that_is_not_there_is_named(fake: Fake, tmp_path: Path) -> None:
    fake("onnxruntime", "InferenceSession = object\ndef get_available_providers(): return ['CPUExecutionProvider']")
    error = failure(tmp_path, settings={"provider": "tensorrt"})
    assert "TensorrtExecutionProvider" in error.message and "provider=cpu" in error.remedy


def test_a_stop_ends_the_process_too(fake: Fake, tmp_path: Path) -> None:
    told = tmp_path / "told"
    fake(
        "onnxruntime",
        f"import os, time, pathlib; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)",
    )

    def stop(*_: object) -> None:
        if told.exists() and told.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            processes.run(OPTIONS, tmp_path / "report.json")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


# ---------------------------------------------------------------- a runtime of numpy


NUMPY = """
import numpy as np
class Found:
    name, shape, type = "input_ids", [None, None], "tensor(int64)"
class SessionOptions: pass
def get_available_providers(): return ["CPUExecutionProvider"]
class InferenceSession:
    "A graph whose logits are those of a table: the next token hangs on the last one alone."
    def __init__(self, path, options, providers): self.table = np.load(path)
    def get_inputs(self): return [Found]
    def get_outputs(self): return [type("Out", (), {"name": "logits"})]
    def get_providers(self): return ["CPUExecutionProvider"]
    def io_binding(self): return Binding()
    def run_with_iobinding(self, binding): binding.logits = self.table[binding.ids]
    def run(self, names, given): return [self.table[given["input_ids"]].mean(1)]
class Binding:
    def bind_cpu_input(self, name, ids): self.ids = ids
    def bind_output(self, name, device): pass
    def get_outputs(self): return [type("Value", (), {"numpy": lambda *_: self.logits})()]
"""


def measured(tmp_path: Path, table: np.ndarray, **options: Any) -> dict[str, Any]:
    np.save(tmp_path / "model.npy", table)
    shutil.move(tmp_path / "model.npy", tmp_path / "model.onnx")
    return processes.run({**OPTIONS, "folder": str(tmp_path), **options}, tmp_path / "report.json")


def test_rows_of_unlike_length_are_judged_place_by_place(fake: Fake, tmp_path: Path) -> None:
    fake("onnxruntime", NUMPY)
    random = np.random.default_rng(0)
    old, new = random.normal(size=(2, 11, 11)).astype(np.float32)
    ids = np.array([1, 2, 3, 4, 5, 6, 7], np.int32)
    targets = np.array([2, -1, 4, 5, 6, 7, -1], np.int32)
    np.savez(tmp_path / "rows.npz", ids=ids, ends=[2, 7], targets=targets)
    files = {"rows": "rows.npz", "found": "found.npz", "reference": "reference.npy"}
    given = {name: str(tmp_path / file) for name, file in files.items()} | {"reference_bytes": 4 * 11 * 4}
    measured(tmp_path, old, **given, writes=True)
    claims = {"en": {"ids": [3, 4]}}
    said = measured(tmp_path, new, **given, writes=False, what=["rows", "claims"], claims=claims)["claims"]["en"]
    assert said["first_choices"] == new[[3, 4]].argmax(-1).tolist()
    assert [at for at, _ in said["logits"]] == np.argsort(-new[4])[:5].tolist()
    places = targets >= 0
    with np.load(tmp_path / "found.npz") as found:
        p, q = (table - np.log(np.exp(table).sum(-1, keepdims=True)) for table in (old[ids], new[ids]))
        assert found["nats"] == pytest.approx(-q[places, targets[places]], abs=1e-5)
        divergence = (np.exp(p) * (p - q)).sum(-1)[places]
        assert found["divergence"] == pytest.approx(divergence[:4], abs=1e-5)  # as many as the file holds
        assert found["same"].tolist() == (p.argmax(-1) == q.argmax(-1))[places][:4].tolist()
        gaps = np.abs(old - new)[ids[places][:4]]
        assert found["errors"] == pytest.approx([gaps.max(), gaps.mean()], abs=1e-5)


def test_windows_of_a_benchmark_are_judged_as_before(fake: Fake, tmp_path: Path) -> None:
    """By its options: windows of equal length, seconds of the processor, nats in a file of their own."""
    fake("onnxruntime", NUMPY)
    table = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    windows = np.random.default_rng(1).integers(0, 300, (8, 160)).astype(np.int32)
    np.save(tmp_path / "windows.npy", windows)
    given = {name: str(tmp_path / f"{name}.npy") for name in ("windows", "reference", "nats")}
    more = {"what": ["speed", "quality"], "batches": [1, 8], "repeats": 1, "compared": 2, "clock": "cpu"}
    found = measured(tmp_path, table, **given, **more)
    assert {"load", "reload", "imported", "first", "speed", "peak", "cache_agrees"} <= set(found)
    assert found["cache_agrees"] == 1.0 and set(found["speed"]) == {"1", "8"}
    again = measured(tmp_path, table, **given, **more)
    assert again["divergence"] == pytest.approx(0, abs=1e-6) and again["same"] == 1.0
    logits = table[windows[:, :-1]]
    wanted = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, windows[:, 1:, None], 2)[..., 0]
    assert np.load(tmp_path / "nats.npy") == pytest.approx(wanted, abs=1e-4)


def test_texts_are_timed_alone_and_in_batches_also_where_there_are_few(fake: Fake, tmp_path: Path) -> None:
    fake("onnxruntime", NUMPY)
    np.savez(tmp_path / "rows.npz", ids=np.arange(6), ends=[1, 3, 6], targets=np.full(6, -1))
    given = {name: str(tmp_path / f"{name}.npz") for name in ("rows", "found")} | {
        "pad": 0,
        "batches": [1, 8],
        "repeats": 2,
    }
    table = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    more = {"settings": {"kind": "classifier"}, "what": ["seconds", "outputs"]}
    found = measured(tmp_path, table, **given, **more)
    assert set(found["seconds"]) == {"1", "8"} and min(found["seconds"].values()) > 0
    with np.load(tmp_path / "found.npz") as said:
        wanted = [table[:1].mean(0), table[1:3].mean(0), table[3:6].mean(0)]
        assert said["logits"].reshape(3, 3) == pytest.approx(np.array(wanted), abs=1e-6)


# ---------------------------------------------------------------- a head with code of its own


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loaded, Path]]:
    folder = tmp_path_factory.mktemp("pooled")
    yield load(tiny.mean_pooled(folder / "model"), dtype="float32"), folder


def test_our_classifier_runs_with_its_own_file_and_the_originals_is_not_trusted(pooled: tuple[Loaded, Path]) -> None:
    from ptft.stages.export.formats import torchao

    loaded, folder = pooled
    (folder / "export").mkdir()
    torchao.write(loaded, {}, folder / "export")
    for path in (folder / "model").glob("modeling*.py"):
        path.write_text("raise SystemExit('this code was run')")
    texts = texts_of(loaded, None, {}, 0, None)  # type: ignore[arg-type]
    verifier = Verifier(loaded, folder / "model", texts, folder / "scratch", ExportRecipe(speed=False))
    found = verifier.export(folder / "export", "torch")
    assert found.quality.kl == 0.0 and found.quality.first_choice_equal == 1.0
    assert found.claims == verifier.original().claims
    claim = found.claims["zh"]
    import torch

    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([claim["ids"]])).logits
    assert claim["first_choices"] == logits.argmax(-1).tolist()
    assert json.dumps(found.quality.as_json())


# ---------------------------------------------------------------- GGUF


def test_a_gguf_file_is_read_without_llama_cpp_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By transformers, in this process: its answers are the file's, its speed is not."""
    import importlib
    import sys

    from ptft.stages.export.formats import gguf

    monkeypatch.syspath_prepend(str(processes.SCRIPT.parent))
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    scaled["original_max_position_embeddings"] = 16  # type: ignore[assignment]
    loaded = load(tiny.causal(tmp_path / "model", rope_parameters=scaled), dtype="float32")
    (tmp_path / "gguf").mkdir()
    gguf.write(loaded, {}, tmp_path / "gguf", others="F32")
    import torch

    ids = np.arange(5, 45)
    try:
        said = importlib.import_module("with_gguf").Model(tmp_path / "gguf").logits(ids)
    finally:
        for name in ("with_gguf", "with_torch", "common"):
            sys.modules.pop(name, None)
    with torch.inference_mode():
        wanted = loaded.model(input_ids=torch.tensor(ids)[None]).logits[0].numpy()
    assert said == pytest.approx(wanted, abs=1e-3)
