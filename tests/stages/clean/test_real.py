"""clean on real text: what must go goes, what must stay stays. Skips where the corpora cannot be fetched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
from cleaning import clean, rows_of

FETCH = Path(__file__).parents[4] / "shared" / "realdata" / "fetch"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not FETCH.exists():
        pytest.skip("no ../shared: the real corpora cannot be fetched")
    folder = tmp_path_factory.mktemp("real")
    names = ("bbc", "fortunes-zh", "help-en", "help-html")
    fetched = subprocess.run([sys.executable, FETCH, "--out", folder, *names], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"the real corpora cannot be fetched here: {fetched.stderr[-200:]}")
    return folder


def test_the_copies_in_the_news_go(real: Path, tmp_path: Path) -> None:
    record = clean(tmp_path / "out", real / "bbc.jsonl")
    assert record.counts["dropped_by_reason"]["exact_duplicate"] == 98
    assert record.counts["kept"] > 2000
    texts = [row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")]
    assert len(texts) == len(set(texts))


def test_news_is_neither_personal_nor_offensive_nor_an_advertisement(real: Path, tmp_path: Path) -> None:
    record = clean(tmp_path / "out", real / "bbc.jsonl", personal="all", sets=["sensitive.lists=en,zh"])
    assert not {"noise.max_spam", "sensitive.max_sensitive_words"} & record.counts["dropped_by_reason"].keys()
    assert record.counts["edits"] == {}


def test_escape_codes_go_and_the_words_stay(real: Path, tmp_path: Path) -> None:
    record = clean(tmp_path / "out", real / "fortunes-zh.jsonl", rules="off", sets=["duplicates.enabled=false"])
    before = {row["id"]: row["text"] for row in rows_of(real / "fortunes-zh.jsonl")}
    rows = rows_of(tmp_path / "out/corpus.jsonl")
    assert record.counts["kept"] == len(before) == len(rows)
    assert sum("\x1b" in text for text in before.values()) > 5000
    han = re.compile("[\u4e00-\u9fff]")
    for row in rows:
        assert "\x1b" not in row["text"]
        assert han.findall(row["text"]) == han.findall(before[row["id"]])


def test_pages_become_their_text(real: Path, tmp_path: Path) -> None:
    clean(tmp_path / "out", real / "help-html.jsonl", rules="off", sets=["duplicates.enabled=false"])
    truth = {row["id"]: shingles(row["text"]) for row in rows_of(real / "help-en.jsonl")}
    pages = [(shingles(row["text"]), truth.get(row["id"], set())) for row in rows_of(tmp_path / "out/corpus.jsonl")]
    shared = [(len(page & text) / len(text), len(page & text) / len(page)) for page, text in pages if page and text]
    assert len(shared) > 2000
    assert mean(recall for recall, _ in shared) > 0.93
    assert mean(precision for _, precision in shared) > 0.78


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
