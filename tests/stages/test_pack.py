from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
import tiny

from ptft.core.contracts import TOKENS, Inputs
from ptft.core.errors import InputError, UsageError
from ptft.core.files import expand
from ptft.core.packing import META, Packed
from ptft.core.progress import Silent
from ptft.stages.pack.recipe import PackRecipe
from ptft.stages.pack.run import plan, run

RECIPE = PackRecipe(tokenizer="named", seq_len=32, val=0.1, workers=1)


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path / "in.jsonl", range(200))


def write(path, numbers):
    rows = [{"id": f"d{n}", "text": tiny.TEXTS[n % 4] * (1 + n % 5)} for n in numbers]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def inputs(tokenizer, *paths):
    return Inputs({"data": expand([str(path) for path in paths])}, {"tokenizer": tokenizer})


def recipe(**changes):
    return PackRecipe(**{**{"tokenizer": "named", "seq_len": 32, "val": 0.1, "workers": 1}, **changes})


def packed(folder, output_of, tokenizer, *paths, progress=None, **changes):
    """What the stage made, published as the runner would."""
    out = output_of(folder)
    result = run(recipe(**changes), inputs(tokenizer, *paths), out, progress or Silent())
    for path in list(out.new.iterdir()):
        path.rename(folder / path.name)
    (folder / "run.json").write_text("{}")
    return result


def test_the_folder_is_a_tokens_folder_that_numpy_reads(corpus, tokenizer, output_of, tmp_path):
    result = packed(tmp_path / "t", output_of, tokenizer, corpus)
    assert TOKENS.is_valid(tmp_path / "t") and (tmp_path / "t" / "tokenizer" / "tokenizer.json").exists()
    tokens = np.load(tmp_path / "t" / "train-00000.npy", mmap_mode="r")
    assert len(tokens) == result.counts["train_tokens"]
    assert result.counts["train_documents"] + result.counts["val_documents"] == 200
    assert not (tmp_path / "t" / "journal.json").exists()


def test_figures_are_those_of_the_sequences(corpus, tokenizer, output_of, tmp_path):
    for way, key in (("concat", "concat"), ("best-fit", "best_fit")):
        result = packed(tmp_path / way, output_of, tokenizer, corpus, packing=way)
        found = Packed(tmp_path / way).sequences("train", 32)
        assert result.counts["sequences"] == len(found)
        assert result.metrics["waste"] == result.metrics[f"{key}_waste"] == pytest.approx(found.waste)
        lengths = Packed(tmp_path / way).lengths["train"]
        if way == "concat":
            stops = np.cumsum(lengths).tolist()
            places = set(range(32, stops[-1], 32))
            cut = sum(any(start < place < stop for place in places) for start, stop in pairwise([0, *stops]))
        else:
            cut = sum(length > 32 for length in lengths.tolist())
        assert result.metrics[f"{key}_documents_cut"] == pytest.approx(cut / len(lengths))
    assert result.metrics["tokens_per_document_p50"] == int(np.median(lengths))
    assert result.metrics["tokens_per_document_max"] == lengths.max()


def test_empty_texts_are_left_out_and_counted_bad_rows_kept_aside(tokenizer, output_of, tmp_path):
    path = write(tmp_path / "in.jsonl", range(30))
    path.write_text(path.read_text() + '{"id": "e", "text": ""}\n{"id": "f"}\n')
    progress = Silent()
    result = packed(tmp_path / "t", output_of, tokenizer, path, val=0.0, max_bad_rows=0.5, progress=progress)
    assert (result.counts["empty"], result.counts["rows_rejected"], result.counts["train_documents"]) == (1, 1, 30)
    assert json.loads((tmp_path / "t" / "rejected.jsonl").read_text())["line"] == 32
    assert "1 documents have no tokens" in progress.notes[0]


def test_too_few_tokens_for_a_sequence_are_warned_of(corpus, tokenizer, output_of, tmp_path):
    progress = Silent()
    packed(tmp_path / "t", output_of, tokenizer, corpus, seq_len=10**6, progress=progress)
    assert "fewer training tokens than one sequence" in progress.warnings[0]


# ---------------------------------------------------------------- adding to a folder


def test_a_folder_is_added_to(corpus, tokenizer, output_of, tmp_path):
    packed(tmp_path / "old", output_of, tokenizer, corpus, val=0.1)
    more = write(tmp_path / "more.jsonl", range(200, 260))
    result = packed(tmp_path / "new", output_of, tokenizer, tmp_path / "old", more, packing="best-fit", seq_len=64)
    assert result.counts["train_documents"] + result.counts["val_documents"] == 260
    meta = Packed(tmp_path / "new").meta
    assert (meta.packing, meta.seq_len) == ("best-fit", 64)
    assert [shard.file for shard in meta.shards["train"]] == ["train-00000.npy", "train-00001.npy"]
    assert (tmp_path / "new" / "train-00000.npy").samefile(tmp_path / "old" / "train-00000.npy")


def test_two_folders_are_joined(tokenizer, output_of, tmp_path):
    packed(tmp_path / "a", output_of, tokenizer, write(tmp_path / "a.jsonl", range(30)))
    packed(tmp_path / "b", output_of, tokenizer, write(tmp_path / "b.jsonl", range(30, 50)))
    result = packed(tmp_path / "c", output_of, tokenizer, tmp_path / "a", tmp_path / "b")
    assert result.counts["train_documents"] + result.counts["val_documents"] == 50


@pytest.mark.parametrize(
    ("changes", "said"), [({"val": 0.2}, "--val 0.1 --seed 1, not --val 0.2"), ({"seed": 2}, "--seed 2")]
)
def test_other_sides_are_refused(corpus, tokenizer, output_of, tmp_path, changes, said):
    packed(tmp_path / "old", output_of, tokenizer, corpus)
    more = write(tmp_path / "more.jsonl", range(200, 210))
    for work in (lambda: packed(tmp_path / "new", output_of, tokenizer, tmp_path / "old", more, **changes),
                 lambda: plan(recipe(**changes), inputs(tokenizer, tmp_path / "old", more), Silent())):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            work()


def test_another_tokenizer_and_nothing_to_add_are_refused(corpus, tokenizer, output_of, tmp_path):
    packed(tmp_path / "old", output_of, tokenizer, corpus)
    tiny.tokenizer(350).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="another tokenizer"):
        packed(tmp_path / "new", output_of, tmp_path / "other", tmp_path / "old", corpus)
    with pytest.raises(UsageError, match="packed already"):
        packed(tmp_path / "new", output_of, tokenizer, tmp_path / "old")


# ---------------------------------------------------------------- the dry run


def test_the_plan_estimates_what_the_run_finds(corpus, tokenizer, output_of, tmp_path):
    lines = dict(plan(recipe(), inputs(tokenizer, corpus), Silent()).lines)
    result = packed(tmp_path / "t", output_of, tokenizer, corpus)
    tokens = result.counts["train_tokens"] + result.counts["val_tokens"]
    assert lines["documents (estimate)"] == 200 and abs(lines["tokens (estimate)"] - tokens) <= 0.02 * tokens
    assert lines["sequences (estimate)"] == lines["tokens (estimate)"] // 32
    assert lines["concat, as chosen"].startswith("waste 0.0") and "best-fit" in lines
    assert lines["time"].startswith("about ") and not list(tmp_path.glob("t/new/*"))


# ---------------------------------------------------------------- the command, killed


def command(corpus, tokenizer, out, *more):
    return [
        sys.executable, "-m", "ptft", "pack", str(corpus), "-t", str(tokenizer), "-o", str(out), "--val", "0.1", "--seq-len", "32",
        "--set", "block_rows=50", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_bytes(tokenizer, tmp_path):
    corpus = write(tmp_path / "in.jsonl", range(20_000))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(corpus, tokenizer, tmp_path / "whole"), check=True, capture_output=True, env=environment)
    running = subprocess.Popen(
        command(corpus, tokenizer, tmp_path / "cut", "--workers", "2"), env=environment, stderr=subprocess.DEVNULL
    )
    tokens = tmp_path / "cut" / ".ptft" / "state" / "tokens"
    while running.poll() is None and not any(path.stat().st_size > 30_000 for path in tokens.glob("train-*.npy")):
        time.sleep(0.01)
    assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "cut" / META).exists() and not (tmp_path / "cut" / "run.json").exists()
    subprocess.run(command(corpus, tokenizer, tmp_path / "cut"), check=True, capture_output=True, env=environment)
    names = [path.name for path in (tmp_path / "whole").glob("*.npy")] + [META]
    assert len(names) == 5
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "cut" / ".ptft").exists()


def test_a_kill_while_it_is_published_loses_nothing(corpus, tokenizer, output_of, tmp_path, monkeypatch):
    from ptft.stages.pack import run as module

    out = output_of(tmp_path / "t")
    monkeypatch.setattr(module.figures, "of", lambda packed: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, inputs(tokenizer, corpus), out, Silent())
    monkeypatch.undo()
    for path in out.new.iterdir():  # as the runner does before it tries again
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (out.state / "tokens" / "journal.json").write_text("{}")  # killed just before it went
    monkeypatch.setattr("ptft.core.packing.pack_corpus", None)
    result = run(RECIPE, inputs(tokenizer, corpus), out, Silent())
    assert result.counts["train_documents"] + result.counts["val_documents"] == 200
    assert (out.new / META).exists() and not (out.new / "journal.json").exists()


def test_a_full_disk_leaves_nothing_that_looks_finished(corpus, tokenizer, output_of, tmp_path, monkeypatch):
    from ptft.core import shards

    def full(self, documents, stops, first, last):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards._Split, "_write", full)
    out = output_of(tmp_path / "t")
    with pytest.raises(OSError, match="No space"):
        run(RECIPE, inputs(tokenizer, corpus), out, Silent())
    assert not list(out.new.iterdir()) and not (out.state / "tokens" / META).exists()
    monkeypatch.undo()
    assert run(RECIPE, inputs(tokenizer, corpus), out, Silent()).counts["train_documents"] > 100


def test_no_rows_is_an_error(tokenizer, output_of, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no rows"):
        packed(tmp_path / "t", output_of, tokenizer, tmp_path / "empty.jsonl")


def test_text_that_the_tokenizer_cannot_read_is_said(corpus, tmp_path, output_of):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "</s>": 2}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="[UNK]").save_pretrained(
        tmp_path / "words"
    )
    progress = Silent()
    run(RECIPE, inputs(tmp_path / "words", corpus), output_of(tmp_path / "o"), progress)
    assert any("does not know" in text for text in progress.warnings)
