"""Estimates of what learning takes, against hand counts and against what it took."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tokenizer_making import write_rows

from ptft.core.progress import Silent
from ptft.stages.tokenizer import memory
from ptft.stages.tokenizer.presets import untrained


def test_the_most_frequent_pair_is_counted_and_scaled():
    guess = memory.expected(untrained("gpt2"), ["aaa ba", "aaa ba"], 12)
    assert guess.pair_count == 4  # "aa" twice in each "aaa"; " b" and "ba" once in each
    assert memory.expected(untrained("gpt2"), ["aaa ba", "aaa ba"], 1200).pair_count == 400


def test_text_that_repeats_takes_no_more_memory():
    same = memory.expected(untrained("gpt2"), ["one two three"] * 20, 10**9)
    other = memory.expected(untrained("gpt2"), [f"w{chr(97 + n)}{chr(98 + n)}x" for n in range(20)], 10**9)
    assert same.growth == 0.1 and other.growth == 1.0  # the bounds
    assert other.memory == pytest.approx(memory.BYTES_A_DISTINCT_BYTE * 10**9)
    assert memory.expected(untrained("gpt2"), [], 0).memory == 0


def test_a_corpus_that_does_not_fit_is_said_with_what_would():
    guess = memory.Expected(memory=8 * 10**9, growth=0.5, pair_count=0, seconds=0)
    progress = Silent()
    memory.warn(progress, guess, 2 * 10**9, 4 * 10**9)
    assert len(progress.warnings) == 1 and "--set max_bytes=500M" in progress.warnings[0]  # (4/8)**(1/.5) of it
    memory.warn(fits := Silent(), guess, 2 * 10**9, 9 * 10**9)
    memory.warn(unknown := Silent(), guess, 2 * 10**9, None)
    assert not fits.warnings and not unknown.warnings


def test_an_overflow_of_the_pair_counts_is_said():
    def said(size, pair_count):
        memory.warn(progress := Silent(), memory.Expected(0, 1.0, pair_count, 0), size, None)
        return [text for text in progress.warnings if "wrong merges" in text]

    assert said(size=10**11, pair_count=3 * 10**9)
    assert not said(size=10**11, pair_count=10**8)
    assert not said(size=2**31 - 1, pair_count=2**31 - 1)  # fewer bytes than counts


def test_the_system_says_what_is_free(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    places = ((str(tmp_path / "meminfo"), "MemAvailable:"), (str(tmp_path / "memory.max"), ""))
    monkeypatch.setattr(memory, "_SAID_IN", places)
    assert memory.available() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == 2_048_000
    (tmp_path / "meminfo").unlink()
    assert memory.available() is None


SCRIPT = """
import json, sys
from pathlib import Path
from ptft.stages.tokenizer import memory
from ptft.stages.tokenizer.presets import untrained
from tokenizers import trainers

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

texts = [json.loads(line)["text"] for line in open(sys.argv[1])]
guess = memory.expected(untrained("bilingual"), texts[::4], sum(len(text.encode()) for text in texts))
before = peak()
untrained("bilingual").train_from_iterator([texts], trainers.BpeTrainer(vocab_size=2000, show_progress=False))
print(guess.memory, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_the_estimate_is_of_the_right_size(tmp_path):
    import random

    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(3, 12))) for _ in range(60_000)]
    han = [chr(0x4E00 + draw.randrange(3000)) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=40)) + "".join(draw.choices(han, k=20)) + "。" for _ in range(6000)]
    path = write_rows(tmp_path / "in.jsonl", texts)
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, check=True)
    guess, took = map(int, done.stdout.split())
    assert 0.5 < guess / took < 2
