"""The benchmark's own model, and the text that it is judged on: a Llama of 13M parameters trained by ptft on real text."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import corpora
import numpy as np
from finetuning import data as finetuning
from pretraining.data import ptft
from tools import Missing, note

from exporting.processor import processor_has

SETS = ("bbc", "brown", "help-en", "help-zh", "linux-doc")
LENGTH, LENGTH_OF_NEWS = 256, 128  # tokens of a window, and of a row of the classifier at most
# The widths are multiples of 256, so that groups of 128 fit and llama.cpp's blocks of 256 do.
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "intermediate_size": 1280,
    "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 8192,
    "max_position_embeddings": 512, "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip
BATCH, PEAK_LR = 4096, 2.5e-3  # tokens a step: with so few tokens, steps are what is short
AMX = "amx_bf16"  # processors without it are several times slower in bf16


@dataclass(frozen=True)
class Held:
    """windows: int32 (rows, tokens) of held-out text; chinese: which of them are. calibration: windows of training text.

    texts: of the calibration windows, as ptft reads them, with `calibrating`, of `--set`, the same tokens.
    """

    windows: Path
    calibration: Path
    texts: Path
    chinese: tuple[bool, ...]
    calibrating: tuple[str, ...]

    def describe(self) -> str:
        rows = len(self.chinese)
        return (
            f"{rows} held-out windows of {LENGTH} tokens, {sum(self.chinese)} of them Chinese; no near-duplicate of them was trained "
            f"on (`ptft split`). Calibration: {len(np.load(self.calibration))} such windows of training text"
        )


# ---------------------------------------------------------------- the model


def model(real: Path, cache: Path, tokens: str, threads: int) -> tuple[Path, Path]:
    """(checkpoint in fp32, folder with train.jsonl and test.jsonl), made on first use: an hour and more for 10M tokens."""
    folder = cache / "export"
    sources = [path for path in (real / f"{name}.jsonl" for name in SETS) if path.exists()]
    if not sources:
        raise Missing(f"none of {', '.join(SETS)} is in {real}")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG))
    split, tokenizer, packed = folder / "split", folder / "tokenizer", folder / "packed"
    ptft("split", *sources, "--val", 0.02, "--test", 0.02, "-o", split)
    ptft("tokenizer", split / "train.jsonl", "--vocab-size", CONFIG["vocab_size"], "-o", tokenizer)
    ptft("pack", split / "train.jsonl", "-t", tokenizer, "--seq-len", LENGTH, "--val", 0.01, "-o", packed)
    note(f"training the model on {tokens} tokens of {', '.join(path.stem for path in sources)}")
    ptft(
        "pretrain", packed, "--model", config, "--tokens", tokens, "--batch-tokens", BATCH, "--lr", PEAK_LR,
        "--precision", precision(), "--set", "keep=last", "-o", folder / "model", threads=threads,
    )  # fmt: skip
    return folder / "model", split


def precision() -> str:
    """Of training: bf16 where the processor multiplies in it, else what ptft chooses. The checkpoint is in fp32 either way."""
    return "bf16" if processor_has(AMX) else "auto"


# ---------------------------------------------------------------- its text


def held(base: Path, split: Path, folder: Path, rows: int, calibration: int, seed: int) -> Held:
    """Held-out windows of both languages in turn, `rows` at most; calibration texts of both in turn; written into `folder`."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(base)
    windows, chinese = _windows(tokenizer, split / "test.jsonl", rows, seed)
    np.save(folder / "windows.npy", windows)
    texts = _calibrating(tokenizer, split / "train.jsonl", calibration, seed)
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / "calibration.jsonl").write_text(lines, encoding="utf-8")
    cut = np.array(_cut(tokenizer, iter(texts), calibration), dtype=np.int32)
    np.save(folder / "calibration.npy", cut)
    options = (f"calibration_rows={len(cut)}", f"calibration_length={LENGTH}")
    return Held(folder / "windows.npy", folder / "calibration.npy", folder / "calibration.jsonl", chinese, options)


def _texts(path: Path, seed: int) -> tuple[list[str], list[str]]:
    """(English, Chinese) texts of a file, shuffled."""
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    random.Random(seed).shuffle(texts)
    return [text for text in texts if not is_chinese(text)], [text for text in texts if is_chinese(text)]


def _windows(tokenizer: Any, path: Path, rows: int, seed: int) -> tuple[np.ndarray, tuple[bool, ...]]:
    """As many of each language as there are of the rarer one, in turn, and whether each is Chinese."""
    texts = _texts(path, seed)
    chinese = _cut(tokenizer, iter(texts[1]), rows // 2)
    english = _cut(tokenizer, iter(texts[0]), rows - len(chinese))
    turns = [row for pair in zip(english, chinese, strict=False) for row in pair] + english[len(chinese) :]
    said = tuple([False, True] * len(chinese) + [False] * (len(turns) - 2 * len(chinese)))
    return np.array(turns, dtype=np.int32), said


def _calibrating(tokenizer: Any, path: Path, rows: int, seed: int) -> list[str]:
    """Texts of both languages in turn, as many as fill `rows` windows."""
    english, chinese = _texts(path, seed)
    texts = [text for pair in zip_longest(english, chinese) for text in pair if text is not None]
    found, tokens = [], 0
    for text in texts:
        if tokens >= rows * LENGTH:
            break
        found.append(text)
        tokens += len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    return found


def is_chinese(text: str) -> bool:
    """Whether a fifth of the characters are: the Chinese help pages quote English."""
    return len(corpora.HAN.findall(text)) > 0.2 * len(text)


def _cut(tokenizer: Any, texts: Iterator[str], rows: int) -> list[list[int]]:
    """The first `rows` windows of a stream of the texts, with an end-of-text token behind each."""
    stream: list[int] = []
    for text in texts:
        if len(stream) >= rows * LENGTH:
            break
        stream += [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    whole = min(rows, len(stream) // LENGTH)
    return [stream[at * LENGTH : (at + 1) * LENGTH] for at in range(whole)]


# ---------------------------------------------------------------- the classifier


@dataclass(frozen=True)
class News:
    """A classifier of BBC news with its test rows. ids: rows of tokens in an .npz with `ids` and `mask`; labels: class numbers."""

    model: Path
    train: Path
    test: Path
    ids: Path
    labels: Sequence[int]

    def describe(self) -> str:
        from ptft.core.weights import tensors

        return f"{sum(math.prod(tensor.shape) for tensor in tensors(self.model)) / 1e6:.1f}M parameters, fine-tuned on BBC news"


def classifier(real: Path, cache: Path, threads: int) -> News:
    """MiniLM fine-tuned by `ptft finetune task` for one epoch, on first use."""
    folder = cache / "export"
    base = finetuning.minilm(real, cache)
    train, val, test = finetuning.news(real, cache, lambda *arguments: ptft(*arguments, threads=threads))
    ptft(
        "finetune", "task", base, train, "--eval-data", val, "--method", "full", "--lr", 1e-4, "--epochs", 1,
        "--batch-size", 16, "--seq-len", LENGTH_OF_NEWS, "-o", folder / "classifier", threads=threads,
    )  # fmt: skip
    return encoded(folder / "classifier", train, test, folder / "news.npz")


def encoded(model: Path, train: Path, test: Path, out: Path) -> News:
    """The test rows as the classifier reads them, cut at `LENGTH_OF_NEWS` tokens."""
    from ptft.core.models import load_tokenizer

    rows = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()]
    tokenizer, known = load_tokenizer(model), json.loads((model / "config.json").read_text())["label2id"]
    given = tokenizer([row["text"] for row in rows], truncation=True, max_length=LENGTH_OF_NEWS, padding=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, ids=np.array(given["input_ids"]), mask=np.array(given["attention_mask"]))
    return News(model, train, test, out, [known[row["label"]] for row in rows])
