"""Every step of clean at once: the same result for any workers and blocks and after any kill; and rows of any content."""

from __future__ import annotations

import random
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from cleaning import clean, files_of, rows_of, write_rows
from dictionaries import write_cilin, write_wordnet
from documents import documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FOOTER = "Write to the editor at editor@village-letter.com or call +1 415 555 0134."


def setting(folder: Path) -> tuple[Path, list[str]]:
    """An input that gives every step something to do, and the settings that turn each on."""
    rng = random.Random(5)
    rows = documents(400, seed=4)
    for number, row in enumerate(rows):  # words that the small dictionaries know
        row["text"] += (f" They often use a huge car with number {number}.", f"我们拥有许多方法，第{number}种。")[
            number % 2
        ]
    for row in rng.sample(rows, 40):
        row["text"] += f"\n\n{FOOTER}"
    for number, row in enumerate(rng.sample(rows, 60)):
        rows.append({"id": f"near{number}", "text": row["text"].replace("the", "that", 1).replace("和", "与", 1)})
    rows.append({"id": "leaked", "text": f"{rows[0]['text']} {documents(400, seed=8)[0]['text']}"})
    data = write_rows(folder / "in.jsonl", rows)
    evaluation = write_rows(folder / "eval.jsonl", [documents(400, seed=8)[0]])
    clean(folder / "earlier", write_rows(folder / "old.jsonl", documents(400, seed=4)[:50]))
    sets = [
        f"protect.files={evaluation}", f"duplicates.against={folder / 'earlier'}", "duplicates.parts=paragraphs", "personal=all",
        "sensitive.lists=en,zh", "sensitive.action=mask", "duplicates.keep=best", "augment.kind=synonyms",
        f"augment.wordnet={write_wordnet(folder / 'wordnet')}", f"augment.cilin={write_cilin(folder / 'cilin_tree.json').parent}",
        "augment.max_similarity=1", "rules=web", "c4.min_sentences=1",
    ]  # fmt: skip
    return data, sets


def test_every_step_has_work_in_this_test(tmp_path: Path) -> None:
    data, sets = setting(tmp_path)
    record = clean(tmp_path / "out", data, sets=sets)
    assert {"protected", "earlier_duplicate", "near_duplicate"} <= record.counts["dropped_by_reason"].keys()
    assert record.counts["edits"]["masked_email"] and record.counts["augmented"] > 5


def test_workers_and_blocks_change_nothing(tmp_path: Path) -> None:
    data, sets = setting(tmp_path)
    clean(tmp_path / "one", data, sets=sets)
    for workers, block in ((1, 30), (2, 70), (4, 41)):
        clean(tmp_path / f"{workers}", data, sets=[*sets, f"block_rows={block}"], workers=str(workers))
        assert files_of(tmp_path / f"{workers}") == files_of(tmp_path / "one")


def test_killed_at_any_step_and_run_again(tmp_path: Path) -> None:
    data, sets = setting(tmp_path)
    clean(tmp_path / "whole", data, sets=sets)
    out = tmp_path / "killed"
    flags = [flag for each in [*sets, "block_rows=20"] for flag in ("--set", each)]
    command = [sys.executable, "-m", "ptft", "clean", str(data), "-o", str(out), "--workers", "1", *flags]
    reached = (  # what is there before each kill: parts hashed, rows cleaned, the corpus written, rows augmented
        ".ptft/state/parts/block-*/counts.npy", ".ptft/state/block-0000[5-9]/facts.npy", ".ptft/new/corpus.jsonl",
        ".ptft/state/augmented/block-*",
    )  # fmt: skip
    kills = 0
    for pattern in reached:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(out.glob(pattern)):
            time.sleep(0.001)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 3
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not (out / ".ptft").exists()


# ---------------------------------------------------------------- rows of any content

TEXTS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=string.printable + "的一是在了。，！￥％" + "\u200b\ufeff\x1b\x00\ud800", max_size=300),
    st.sampled_from(
        [
            "<html><body><p>x",
            "{" * 50,
            "1 " * 200,
            "13812345678 " * 3,
            "lorem ipsum",
            "\n" * 40,
            "好" * 400,
            "ab " * 300,
        ]
    ),
)
VALUES = st.one_of(TEXTS, st.integers(), st.floats(), st.none(), st.booleans(), st.lists(TEXTS, max_size=3))
ROWS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}),
    st.fixed_dictionaries({"text": TEXTS, "label": VALUES, "id": VALUES}),
    st.fixed_dictionaries({"messages": st.lists(st.fixed_dictionaries({"role": TEXTS, "content": VALUES}), max_size=3)}),
    st.fixed_dictionaries({"tokens": st.lists(TEXTS, max_size=5), "tags": st.lists(TEXTS, max_size=5)}),
    st.dictionaries(st.sampled_from(["text", "id", "label", "source", "target", "reasons", "cluster_size"]), VALUES, max_size=5),
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROWS, min_size=1, max_size=8), rules=st.sampled_from(["off", "web", "auto"]))
def test_no_row_crashes_it_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], rules: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    good = {"id": "good", "text": documents(1)[0]["text"]}
    lines = b"".join(_line(row) for row in [good, *rows])
    (folder / "in.jsonl").write_bytes(lines)
    sets = ["max_bad_rows=1", "personal=all", "sensitive.lists=en,zh", "duplicates.parts=lines", f"rules='{rules}'"]
    record = clean(folder / "out", folder / "in.jsonl", sets=sets)
    out = folder / "out"
    written = [len(rows_of(out / name)) for name in ("corpus.jsonl", "dropped.jsonl", "rejected.jsonl")]
    assert sum(written) == record.counts["rows_read"] == len(rows) + 1
    for line in (out / "corpus.jsonl").read_bytes().splitlines():
        assert isinstance(orjson.loads(line)["id"], str)


def _line(row: Any) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, orjson.JSONEncodeError):  # integers beyond 64 bits, lone surrogates
        import json

        return json.dumps(row).encode() + b"\n"
