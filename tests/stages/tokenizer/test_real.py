"""tokenizer on real text, English and Chinese. Skips where the corpora cannot be fetched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizer_making import make, write_rows

FETCH = Path(__file__).parents[4] / "shared" / "realdata" / "fetch"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A part of the news and of the Chinese help, a megabyte and a half."""
    if not FETCH.exists():
        pytest.skip("no ../shared: the real corpora cannot be fetched")
    folder = tmp_path_factory.mktemp("real")
    fetched = subprocess.run([sys.executable, FETCH, "--out", folder, "bbc", "help-zh"], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"the real corpora cannot be fetched here: {fetched.stderr[-200:]}")
    parts = []
    for name in ("bbc", "help-zh"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        parts.append(write_rows(folder / f"{name}-part.jsonl", rows[::6]))
    return parts


def test_every_row_comes_back_and_the_figures_are_those_of_such_text(corpus, tmp_path):
    result, progress = make(corpus, tmp_path / "out", vocab_size=4096)
    metrics = result.metrics
    assert metrics["round_trip_failures"] == 0 and metrics["documents_measured"] == result.counts["documents"] > 700
    assert not progress.warnings and result.counts["vocab_size"] == 4096
    assert 3.3 < metrics["bytes_per_token"] < 4.5
    assert 1.3 < metrics["tokens_per_word"] < 2.2  # of word-like pieces, marks included
    assert 0.4 < metrics["tokens_per_character_zh"] < 1.0  # LibreOffice's help repeats itself
    assert metrics["unused_share"] < 0.1


def test_no_bilingual_token_mixes_han_and_latin(corpus, tmp_path):
    import re

    mixed = re.compile("[\u4e00-\u9fff].*[A-Za-z]|[A-Za-z].*[\u4e00-\u9fff]")
    for preset, mixes in (("bilingual", False), ("qwen", True)):
        make(corpus[1:], tmp_path / preset, vocab_size=8192, preset=preset)
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tmp_path / preset / "tokenizer.json"))
        texts = tokenizer.decode_batch(
            [[ident] for ident in range(tokenizer.get_vocab_size())], skip_special_tokens=True
        )
        assert any(map(mixed.search, texts)) == mixes, preset
