"""Lines and paragraphs seen before."""

from __future__ import annotations

from pathlib import Path

from cleaning import clean, files_of, rows_of, write_rows
from documents import documents

FOOTER = "Subscribe to the village letter and read it every single week."


def corpus(folder: Path) -> Path:
    rows = documents(30)
    for row in rows[::3]:
        row["text"] += f"\n{FOOTER}"
    rows[1]["text"] = f"{rows[1]['text']}\n{rows[1]['text'].splitlines()[0]}"
    return write_rows(folder / "in.jsonl", rows)


def test_a_line_stays_where_the_corpus_has_it_first(tmp_path: Path) -> None:
    record = clean(tmp_path / "out", corpus(tmp_path), sets=["duplicates.parts=lines"])
    texts = [row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")]
    assert [FOOTER in text for text in texts] == [True] + [False] * 29
    lines = [line for text in texts for line in text.split("\n") if len(line) >= 20]
    assert len(lines) == len(set(lines))
    assert texts[2:] == [row["text"] for row in documents(30)][2:]
    assert record.counts["kept"] == 30


def test_within_a_document_only(tmp_path: Path) -> None:
    clean(tmp_path / "out", corpus(tmp_path), sets=["duplicates.parts=lines", "duplicates.scope=document"])
    rows = rows_of(tmp_path / "out/corpus.jsonl")
    assert sum(FOOTER in row["text"] for row in rows) == 10
    assert rows[1]["text"] == documents(30)[1]["text"]


def test_paragraphs_and_short_parts(tmp_path: Path) -> None:
    rows = [{**row, "text": f"{row['text']}\n\n{FOOTER}\n\nThe end."} for row in documents(4)]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), sets=["duplicates.parts=paragraphs"])
    texts = [row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")]
    assert [FOOTER in text for text in texts] == [True, False, False, False]
    assert all(text.endswith("\n\nThe end.") for text in texts)  # shorter than min_part_characters


def test_the_same_for_any_blocks_and_workers(tmp_path: Path) -> None:
    data = corpus(tmp_path)
    results = [
        files_of(clean_into(tmp_path / name, data, rows, workers))
        for name, rows, workers in (("a", 2000, "1"), ("b", 7, "1"), ("c", 4, "2"))
    ]
    assert results[0] == results[1] == results[2]


def clean_into(out: Path, data: Path, block_rows: int, workers: str) -> Path:
    clean(out, data, sets=["duplicates.parts=lines", f"block_rows={block_rows}"], workers=workers)
    return out
