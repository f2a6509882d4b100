"""`ptft clean`, through the runner and through the real command line."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from cleaning import clean, files_of, plan, rows_of, write_rows
from documents import chinese, documents, english

from ptft.core.errors import InputError, PtftError, RecipeError, RunError
from ptft.core.minhash import tokenise
from ptft.core.progress import Silent

ALWAYS = ("index/exact.u64", "index/index.json", "index/keys.u32", "report.html", "signals.parquet")
SIDE = ("rejected.jsonl", "dropped.jsonl")


# ---------------------------------------------------------------- what it does


def test_good_documents_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{**row, "source": {"url": number}} for number, row in enumerate(documents(40))]
    record = clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows))
    assert rows_of(tmp_path / "out/corpus.jsonl") == rows
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "corpus.jsonl", "index", "report.html", "run.json", "signals.parquet",
    ]  # fmt: skip
    size = sum(len(row["text"].encode()) for row in rows)
    tokens = len(tokenise([row["text"] for row in rows]).hashes)
    assert record.counts == {
        "rows_read": 40, "rows_rejected": 0, "kept": 40, "dropped": 0, "dropped_by_reason": {},
        "by_language": {"en": 20, "zh": 20}, "bytes_in": size, "bytes_out": size, "duplicate_clusters": 0, "edits": {},
        "tokens_out": tokens, "funnel": [{"step": "read", "documents": 40, "bytes": size, "tokens": tokens, "dropped": 0}],
    }  # fmt: skip


def test_text_is_normalised_and_other_fields_are_not(tmp_path: Path) -> None:
    text = documents(1)[0]["text"]
    row = {"id": "a", "text": "\ufeff" + text.replace(" ", "  ").replace("\n", "\r\n") + "\n\n", "note": "as  it\r\nis"}
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", [row]))
    assert rows_of(tmp_path / "out/corpus.jsonl") == [{"id": "a", "text": text, "note": "as  it\r\nis"}]


def test_every_reason_is_listed_and_the_first_counted(tmp_path: Path) -> None:
    bad = {"id": "bad", "text": "# # # 1 2 3 4"}
    record = clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", [*documents(2), bad]))
    (dropped,) = rows_of(tmp_path / "out/dropped.jsonl")
    reasons = {reason["rule"]: (reason["value"], reason["limit"]) for reason in dropped["reasons"]}
    assert dropped["text"] == bad["text"]
    assert reasons["gopher_quality.min_words"] == (4, 50)  # marks alone are no words
    assert {
        "gopher_quality.min_mean_word_length",
        "gopher_quality.max_symbols_per_word",
        "gopher_quality.min_alphabetic_words",
    } <= reasons.keys()
    assert record.counts["dropped_by_reason"] == {dropped["reasons"][0]["rule"]: 1}


def test_languages_to_keep(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(10))
    assert clean(tmp_path / "zh", path, lang="zh").counts["by_language"] == {"zh": 5}
    assert rows_of(tmp_path / "zh/dropped.jsonl")[0]["reasons"] == [{"rule": "language", "value": "en", "limit": "zh"}]
    assert clean(tmp_path / "both", path, lang="en, zh").counts["kept"] == 10
    with pytest.raises(RecipeError, match="'cn' is not one of"):
        clean(tmp_path / "cn", path, lang="cn")


def test_text_field_and_columns(tmp_path: Path) -> None:
    rows = [{"id": row["id"], "body": row["text"]} for row in documents(4)]
    path = write_rows(tmp_path / "in.jsonl", rows)
    clean(tmp_path / "flag", path, text_field="body")
    clean(tmp_path / "set", path, sets=["columns.text=body"])
    assert (tmp_path / "flag/corpus.jsonl").read_bytes() == (tmp_path / "set/corpus.jsonl").read_bytes()
    assert rows_of(tmp_path / "flag/corpus.jsonl") == documents(4)
    with pytest.raises(InputError, match=r"no field 'text'; the row has 'id', 'body'"):
        clean(tmp_path / "wrong", path)


@pytest.mark.parametrize("output", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_outputs_read_as_inputs_and_are_stable(tmp_path: Path, output: str) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(6))
    for name in ("one", "two"):
        clean(tmp_path / name, path, sets=[f"output={output}"])
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert clean(tmp_path / "again", tmp_path / "one").counts["kept"] == 6
    assert rows_of(tmp_path / "again/corpus.jsonl") == documents(6)


def test_nothing_kept_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [{"text": "too short"}, {"text": "太短"}])
    with pytest.raises(InputError, match=r"fineweb2.min_words 1, gopher_quality.min_words 1") as caught:
        clean(tmp_path / "out", path)
    assert "--rules off" in caught.value.remedy
    assert clean(tmp_path / "out", path, rules="off").counts["kept"] == 2


def test_equal_ids_are_kept_with_a_warning(tmp_path: Path) -> None:
    first, second, third = documents(3)
    progress = Silent()
    clean(
        tmp_path / "out",
        write_rows(tmp_path / "in.jsonl", [first, {**second, "id": first["id"]}, third]),
        progress=progress,
    )
    assert len(rows_of(tmp_path / "out/corpus.jsonl")) == 3
    assert any("1 kept rows have an id" in warning for warning in progress.warnings)


def test_a_label_that_is_null_does_not_matter(tmp_path: Path) -> None:
    rows = [{**row, "label": None} for row in documents(4)]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows))
    assert rows_of(tmp_path / "out/corpus.jsonl") == rows


# ---------------------------------------------------------------- examples


def test_examples_get_no_quality_rules(tmp_path: Path) -> None:
    def turns(question: str, answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    rows = [
        {"id": "1", "messages": turns("Hi\u200b  there", "Hello."), "lang": "en  ", "cluster_size": 2},
        {"id": "2", "messages": turns("你好", "你好！")},
        {"id": "3", "messages": turns("hi there", "hello")},
        {"id": "4", "messages": [{"role": "robot", "content": "x"}]},
    ]
    progress = Silent()
    record = clean(
        tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), progress=progress, sets=["max_bad_rows=0.3"]
    )
    kept = rows_of(tmp_path / "out/corpus.jsonl")
    assert [row["id"] for row in kept] == ["1", "2"]
    assert kept[0] == {"id": "1", "messages": turns("Hi there", "Hello."), "lang": "en  ", "cluster_size": 2}
    assert record.counts["dropped_by_reason"] == {"near_duplicate": 1}
    assert "robot" in rows_of(tmp_path / "out/rejected.jsonl")[0]["reason"]
    assert "messages" in progress.notes[0]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (
            {"instruction": "Say  hi", "input": "", "output": "hi \n"},
            {"instruction": "Say hi", "input": "", "output": "hi"},
        ),
        (
            {"text": "a  b", "text_pair": "c\r\nd", "label": "x  y"},
            {"text": "a b", "text_pair": "c\nd", "label": "x  y"},
        ),
        (
            {"tokens": ["a", "\u200b", "e\u0301"], "tags": ["O", "O", "O"]},
            {"tokens": ["a", "\u200b", "é"], "tags": ["O", "O", "O"]},
        ),
        ({"prompt": "p  q", "chosen": "c ", "rejected": "r "}, {"prompt": "p q", "chosen": "c", "rejected": "r"}),
        ({"source": "s ", "target": "\u3000t"}, {"source": "s", "target": "t"}),
        (
            {"conversations": [{"from": "human", "value": "h  i"}, {"from": "gpt", "value": "y "}]},
            {"conversations": [{"from": "human", "value": "h i"}, {"from": "gpt", "value": "y"}]},
        ),
    ],
)
def test_strings_of_every_shape_are_normalised(tmp_path: Path, row: dict[str, Any], wanted: dict[str, Any]) -> None:
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", [row]))
    assert rows_of(tmp_path / "out/corpus.jsonl") == [{"id": "in.jsonl:1", **wanted}]


# ---------------------------------------------------------------- duplicates


def duplicated(seed: int = 0) -> list[dict[str, Any]]:
    """Documents, exact copies, and near copies (a sentence of twelve changed), in a shuffled order."""
    rng = random.Random(seed)
    rows = documents(60, seed)
    rows += [{"id": f"exact{number}", "text": rows[number]["text"]} for number in range(10)]
    rows += [
        {"id": f"near{number}", "text": rows[number]["text"] + " " + (english, chinese)[number % 2](rng, 1)[:40]}
        for number in range(20, 40)
    ]
    rng.shuffle(rows)
    return rows


def test_duplicates_say_what_they_repeat(tmp_path: Path) -> None:
    rows = duplicated()
    record = clean(
        tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=["duplicates.keep=first"]
    )
    kept = {row["id"]: row for row in rows_of(tmp_path / "out/corpus.jsonl")}
    dropped = rows_of(tmp_path / "out/dropped.jsonl")
    place = {row["id"]: number for number, row in enumerate(rows)}
    assert record.counts["dropped_by_reason"] == {"near_duplicate": 20, "exact_duplicate": 10}
    assert record.counts["duplicate_clusters"] == 30
    for row in dropped:
        (reason,) = row["reasons"]
        assert row["duplicate_of"] in kept
        assert place[row["duplicate_of"]] < place[row["id"]]
        assert row["cluster_size"] == 2
        assert reason["value"] == row["similarity"] >= reason["limit"] == 0.8
        exact = kept[row["duplicate_of"]]["text"] == row["text"]
        assert reason["rule"] == ("exact_duplicate" if exact else "near_duplicate")
        assert (row["similarity"] == 1.0) is exact


def test_the_longest_stays(tmp_path: Path) -> None:
    rows = duplicated()
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off")
    kept = {row["id"] for row in rows_of(tmp_path / "out/corpus.jsonl")}
    assert {f"near{number}" for number in range(20, 40)} <= kept
    length = {row["id"]: len(row["text"]) for row in rows}
    for row in rows_of(tmp_path / "out/dropped.jsonl"):
        assert length[row["duplicate_of"]] >= length[row["id"]]


def test_a_chain_does_not_drop_what_is_not_similar_to_a_kept_row(tmp_path: Path) -> None:
    """a ~ b ~ c ~ ..., neighbours at .9, the ends with nothing in common: single linkage would keep one row of them."""
    words = [f"w{number}" for number in range(1200)]
    rows = [{"id": str(start), "text": " ".join(words[start : start + 200])} for start in range(0, 1000, 10)]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=["duplicates.keep=first"])
    text = {row["id"]: row["text"].split() for row in rows}
    kept = [row["id"] for row in rows_of(tmp_path / "out/corpus.jsonl")]
    dropped = rows_of(tmp_path / "out/dropped.jsonl")
    assert 10 < len(kept) < 70 and len(kept) + len(dropped) == 100
    for row in dropped:
        mine, other = set(text[row["id"]]), set(text[row["duplicate_of"]])
        assert len(mine & other) / len(mine | other) >= 0.78  # of words; .8 of 5-grams


def test_short_identical_texts_leave_one(tmp_path: Path) -> None:
    texts = ["one", "one two", "one two three", "one two three four", "你", "你好"]
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts * 3)]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off")
    assert [row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")] == texts


def test_duplicates_can_be_kept(tmp_path: Path) -> None:
    rows = duplicated()
    record = clean(
        tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=["duplicates.enabled=false"]
    )
    assert record.counts["kept"] == len(rows)


# ---------------------------------------------------------------- the same result, however it is worked


MIXED = [
    *duplicated(1)[:50], {"text": "short"}, {"id": "no text"}, *duplicated(2)[50:], {"id": "x", "text": 5}, {"text": ""},
]  # fmt: skip


def mixed_input(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "a.jsonl", MIXED[:70])
    (folder / "b.jsonl").write_bytes(b"{broken\n" + b"".join(orjson.dumps(row) + b"\n" for row in MIXED[70:]))
    return folder


def test_blocks_and_workers_change_nothing(tmp_path: Path) -> None:
    folder = mixed_input(tmp_path / "in")
    sets = ["max_bad_rows=0.1"]
    clean(tmp_path / "one", folder, sets=sets)
    wanted = files_of(tmp_path / "one")
    assert set(wanted) == {"corpus.jsonl", "dropped.jsonl", "rejected.jsonl", *ALWAYS}
    assert [row["line"] for row in rows_of(tmp_path / "one/rejected.jsonl")] == [52, 1, len(MIXED) - 70]
    for workers, block in ((1, 7), (2, 60), (4, 9)):
        out = tmp_path / f"{workers}-{block}"
        clean(out, folder, workers=str(workers), sets=[*sets, f"block_rows={block}"])
        assert files_of(out) == wanted


@pytest.mark.parametrize("bad", [990, 1010])
def test_the_limit_of_bad_rows_does_not_depend_on_blocks(tmp_path: Path, bad: int) -> None:
    """Half of the rows are bad: allowed at .6 though the first thousand are nearly all bad, not at .4."""
    rows = [*documents(10), *({"id": str(number)} for number in range(bad)), *documents(bad)]
    path = write_rows(tmp_path / "in.jsonl", rows)
    for block in (300, 3000):
        sets = [f"block_rows={block}", "max_bad_rows=0.6", "duplicates.enabled=false"]
        assert clean(tmp_path / f"{block}", path, sets=sets).counts["rows_rejected"] == bad
        with pytest.raises(InputError, match=f"{bad:,} of") as caught:
            clean(tmp_path / f"{block}-strict", path, sets=[f"block_rows={block}", "max_bad_rows=0.4"])
        assert caught.value.where == "in.jsonl:11"
        assert len(rows_of(tmp_path / f"{block}-strict/rejected.jsonl")) == bad


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "ptft", "clean", *map(str, arguments)]


def ptft(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_is_as_if_never_killed(tmp_path: Path, workers: int) -> None:
    folder = mixed_input(tmp_path / "in")
    write_rows(folder / "c.jsonl", documents(700, seed=9))
    sets = ["--set", "max_bad_rows=0.1", "--set", "block_rows=25", "--workers", workers]
    clean(tmp_path / "whole", folder, sets=["max_bad_rows=0.1"])
    out = tmp_path / "killed"
    state = out / ".ptft/state"
    rng = random.Random(workers)
    kills = 0
    for wanted in (1, rng.randint(3, 12), rng.randint(15, 25)):
        process = subprocess.Popen(
            command(folder, "-o", out, *sets), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list(state.glob("block-*"))) < wanted:
            time.sleep(0.002)
        kills += process.poll() is None
        process.kill()
        process.wait()
        assert not (out / "run.json").exists() or process.returncode == 0
    assert kills >= 2
    assert ptft(folder, "-o", out, *sets).returncode == 0
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not (out / ".ptft").exists()


def test_a_block_size_changed_between_tries_does_not_mix_blocks(tmp_path: Path) -> None:
    folder = mixed_input(tmp_path / "in")
    clean(tmp_path / "whole", folder, sets=["max_bad_rows=0.1"])
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(folder, "-o", out, "--set", "max_bad_rows=0.1", "--set", "block_rows=3", "--workers", 1),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and len(list((out / ".ptft/state").glob("block-*"))) < 4:
        time.sleep(0.002)
    process.kill()
    process.wait()
    clean(out, folder, sets=["max_bad_rows=0.1", "block_rows=50"])
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_is_left_behind(tmp_path: Path, how: signal.Signals) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(3000))
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(path, "-o", out, "--workers", 2, "--set", "block_rows=20"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=hear_interrupts,
    )
    while process.poll() is None and not list((out / ".ptft/state").glob("block-*")):
        time.sleep(0.005)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(children) >= 2
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert b"Traceback" not in errors and b"the same command again" in errors
    for _ in range(200):
        if not any(alive(child) for child in children):
            return
        time.sleep(0.02)
    raise AssertionError("a worker outlived its parent")


def hear_interrupts() -> None:
    """A job started in the background of a shell ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_worker_that_dies_is_an_error_not_a_hang() -> None:
    from ptft.core.workers import ordered_map

    with pytest.raises(RunError, match="worker process died"):
        list(ordered_map(os._exit, iter([3, 3, 3]), 2))
    with pytest.raises(ValueError, match="invalid literal"):
        list(ordered_map(int, iter(["1", "x", "3"]), 2))
    assert list(ordered_map(str, iter(range(50)), 3)) == [str(number) for number in range(50)]


# ---------------------------------------------------------------- every form of input


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def table(rows: Sequence[dict[str, Any]], form: str) -> bytes:
    if form == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    if form == "json":
        return orjson.dumps(rows)
    if form == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
        return buffer.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if form == "tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_file(row: dict[str, Any], form: str) -> bytes:
    if form == "html":
        body = "<p>" + "<br>".join(row["text"].split("\n")) + "</p>"
        return f"<html><head><title>no</title></head><body>{body}</body></html>".encode()
    return row["text"].encode()


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("form", ["txt", "md", "html", "jsonl", "json", "csv", "tsv", "parquet"])
def test_every_form_gives_the_same_corpus(tmp_path: Path, form: str, suffix: str) -> None:
    rows = [*documents(7), {"id": "doc9000", "text": documents(1)[0]["text"]}, {"id": "doc9001", "text": "dropped"}]
    folder = tmp_path / "in"
    folder.mkdir()
    if form in ("txt", "md", "html"):
        for row in rows:
            (folder / f"{row['id']}.{form}{suffix}").write_bytes(COMPRESS[suffix](as_file(row, form)))
    else:
        (folder / f"rows.{form}{suffix}").write_bytes(COMPRESS[suffix](table(rows, form)))
    record = clean(tmp_path / "out", folder)
    kept = [{"id": row["id"].split(".")[0], "text": row["text"]} for row in rows_of(tmp_path / "out/corpus.jsonl")]
    assert kept == documents(7)
    assert record.counts["dropped_by_reason"] == {"exact_duplicate": 1, "gopher_quality.min_words": 1}


# ---------------------------------------------------------------- broken input, through the real command line


def broken_inputs(folder: Path) -> dict[str, tuple[Path, int, str]]:
    """name -> the input, the exit code it must give, words its error must have."""
    good = table(documents(300), "jsonl")

    def put(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    (folder / "none").mkdir()
    return {
        "truncated gzip": (put("t.jsonl.gz", gzip.compress(good)[:9000]), 3, "truncated or corrupt .gz"),
        "corrupt zst": (put("c.jsonl.zst", b"\x28\xb5\x2f\xfd" + b"\x00garbage" * 9), 3, "truncated or corrupt .zst"),
        "parquet": (put("p.parquet", b"PAR1 no"), 3, "truncated or corrupt parquet"),
        "too many bad rows": (put("b.jsonl", good + b"{bad\n" * 30), 3, "b.jsonl:301: 30 of 330 rows"),
        "no rows": (put("e.jsonl", b""), 3, "holds no rows"),
        "not utf-8": (put("u.txt", b"\xff\xfe\xfa"), 3, "cannot be used"),
        "empty folder": (folder / "none", 3, "no file that can be read"),
        "missing": (folder / "gone.jsonl", 3, "no such file"),
        "no such field": (put("f.jsonl", b'{"body": "x"}\n'), 3, "no field 'text'; the row has 'id', 'body'"),
    }


@pytest.mark.parametrize("name", ["truncated gzip", "too many bad rows", "no such field", "empty folder"])
def test_exit_codes_of_broken_input(tmp_path: Path, name: str) -> None:
    path, code, words = broken_inputs(tmp_path)[name]
    done = ptft(path, "-o", tmp_path / "out", "--json", "--workers", 1)
    assert done.returncode == code
    assert words in done.stderr and "try:" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out/run.json").exists()


def test_broken_input_is_an_input_error(tmp_path: Path) -> None:
    for number, (path, code, words) in enumerate(broken_inputs(tmp_path).values()):
        with pytest.raises(PtftError) as caught:
            clean(tmp_path / f"out{number}", path)
        assert caught.value.exit_code == code
        assert words in str(caught.value)


def test_a_file_that_vanishes_while_it_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ptft import runner

    folder = mixed_input(tmp_path / "in")
    fingerprint = runner._fingerprint

    def vanish(*arguments: Any) -> str:
        (folder / "b.jsonl").unlink()
        return fingerprint(*arguments)

    monkeypatch.setattr(runner, "_fingerprint", vanish)
    with pytest.raises(InputError, match="no such file"):
        clean(tmp_path / "out", folder)


def test_a_disk_that_fills_is_exit_4(tmp_path: Path) -> None:
    """The state's file system is full: /dev/full stands where a block's rows go."""
    path = write_rows(tmp_path / "in.jsonl", documents(4))
    script = (
        "import sys; from pathlib import Path; from ptft.stages.clean import block; from ptft.cli import run\n"
        "block._write_lines = lambda path, rows: Path('/dev/full').open('wb', buffering=0).write(b'x')\n"
        f"sys.exit(run(['clean', {str(path)!r}, '-o', {str(tmp_path / 'out')!r}, '--workers', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "the disk is full" in done.stderr
    assert ptft(path, "-o", tmp_path / "out", "--workers", 1).returncode == 0
    assert rows_of(tmp_path / "out/corpus.jsonl") == documents(4)


# ---------------------------------------------------------------- the command line and the dry run


def test_the_command_line(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", duplicated())
    out = tmp_path / "out"
    done = ptft(path, "-o", out, "--json", "--rules", "off", "--workers", 2, "--set", "block_rows=20")
    assert done.returncode == 0, done.stderr
    record = orjson.loads(done.stdout)
    assert record["counts"]["kept"] == 60
    rows = {entry["path"]: entry["rows"] for entry in record["outputs"] if entry["rows"]}
    assert rows == {"corpus.jsonl": 60, "dropped.jsonl": 30}
    assert "near_duplicate" in done.stderr
    again = ptft(path, "-o", out, "--rules", "off")
    assert again.returncode == 0 and "up to date" in again.stderr and again.stdout == f"{out}\n"
    piped = subprocess.run(
        command("-", "-o", tmp_path / "piped", "--rules", "off"), input=path.read_bytes(), capture_output=True
    )
    assert piped.returncode == 0
    assert (tmp_path / "piped/corpus.jsonl").read_bytes() == (out / "corpus.jsonl").read_bytes()


def test_a_dry_run_says_what_would_be_dropped_and_writes_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [*documents(20), {"text": "short"}, {"id": "none"}])
    before = set(tmp_path.rglob("*"))
    progress = Silent()
    lines = dict(plan(path, progress=progress).lines)
    assert lines["rows"] == "22" and lines["rejected of the sample"] == 1
    assert lines["dropped of the sample, by rules"] == "1 (4.8%)"
    assert lines["languages of the sample"] == "en 11, zh 10"
    dropped, examples = progress.tables
    assert dropped.rows == (("gopher_quality.min_words", "1", "4.8%", "1", "0"),)
    assert examples.rows == (("gopher_quality.min_words", "1 (50)", "in.jsonl:21", "short"),)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "in.csv", "in.parquet"])
def test_a_dry_run_estimates_the_rows(tmp_path: Path, name: str) -> None:
    _, form, *suffix = name.split(".")
    content = table(documents(3000), form)
    (tmp_path / name).write_bytes(COMPRESS["." + suffix[0] if suffix else ""](content))
    words = str(dict(plan(tmp_path / name).lines)["rows"])
    assert words.startswith("about ")
    assert 2000 <= int(words.removeprefix("about ").replace(",", "")) <= 4500


def test_state_does_not_outlive_the_run(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(4))
    clean(tmp_path / "out", path)
    names = list(itertools.chain.from_iterable(files for _, _, files in os.walk(tmp_path / "out")))
    assert sorted(names) == sorted(["corpus.jsonl", "run.json", *(Path(name).name for name in ALWAYS)])
    shutil.rmtree(tmp_path / "out")


# ---------------------------------------------------------------- edits


def test_pages_are_made_text_in_rows_of_text_alone(tmp_path: Path) -> None:
    page = "<!DOCTYPE html><html><body><nav>Home</nav><p>" + documents(1)[0]["text"] + "</p></body></html>"
    rows = [
        {"id": "page", "text": page},
        {"id": "chat", "messages": [{"role": "user", "content": "A page?"}, {"role": "assistant", "content": page}]},
        {"id": "alpaca", "instruction": "Write a page.", "output": page},
    ]
    sets = ["duplicates.enabled=false"]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=sets)
    kept = {row["id"]: row for row in rows_of(tmp_path / "out/corpus.jsonl")}
    assert kept["page"]["text"] == documents(1)[0]["text"].replace("\n", " ")
    assert kept["chat"]["messages"][1]["content"] == page and kept["alpaca"]["output"] == page


def test_masks_reach_every_text_of_a_row(tmp_path: Path) -> None:
    call = {"id": "c1", "function": {"name": "mail", "arguments": '{"to": "ann@example.com"}'}}
    rows = [
        {"id": "t", "tokens": ["Write", "to", "ann@example.com"], "tags": ["O", "O", "O"]},
        {"id": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "I am ann@example.com, write to me."}]},
            {"role": "assistant", "content": "I do.", "tool_calls": [call]},
        ]},
    ]  # fmt: skip
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", personal="all")
    written = (tmp_path / "out/corpus.jsonl").read_text("utf-8")
    assert "ann@" not in written and written.count("<EMAIL>") == 3
    assert rows_of(tmp_path / "out/corpus.jsonl")[0]["tokens"] == ["Write", "to", "<EMAIL>"]


def test_c4_keeps_the_chinese_lines_of_a_bilingual_text(tmp_path: Path) -> None:
    english_lines = documents(1)[0]["text"].split("\n")
    text = "\n".join([english_lines[0], "这座桥在去年春天修好了。", english_lines[1], "no", english_lines[2]])
    data = write_rows(tmp_path / "in.jsonl", [{"id": "b", "text": text}])
    clean(tmp_path / "out", data, rules="c4", sets=["c4.min_sentences=0"])
    (row,) = rows_of(tmp_path / "out/corpus.jsonl")
    assert row["text"] == text.replace("\nno\n", "\n")


def test_only_chinese_changes_its_script(tmp_path: Path) -> None:
    rows = [
        {"id": "ja", "text": "吾輩は猫である。名前はまだ無い。"},
        {"id": "zh", "text": "這隻貓沒有名字，可是大家都喜歡牠。"},
    ]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=["normalise.script=simplified"])
    kept = {row["id"]: row["text"] for row in rows_of(tmp_path / "out/corpus.jsonl")}
    assert kept["ja"] == rows[0]["text"] and "这只猫没有名字" in kept["zh"]


def test_fields_that_clean_writes_are_not_taken_over(tmp_path: Path) -> None:
    rows = [{**row, "cluster_size": 99, "reasons": "mine", "note": "kept"} for row in documents(3)]
    progress = Silent()
    data = write_rows(tmp_path / "in.jsonl", rows)
    clean(tmp_path / "out", data, progress=progress)
    assert rows_of(tmp_path / "out/corpus.jsonl") == [{**row, "note": "kept"} for row in documents(3)]
    assert any("3 rows had fields that clean writes itself" in warning for warning in progress.warnings)


def test_a_rule_that_takes_much_is_named_with_the_way_to_change_it(tmp_path: Path) -> None:
    short = [{"id": f"s{number}", "text": f"A short text, number {number}."} for number in range(3)]
    for name, rows, warned in (("much", [*documents(6), *short], 1), ("little", [*documents(20), *short], 0)):
        progress = Silent()
        clean(tmp_path / name, write_rows(tmp_path / f"{name}.jsonl", rows), progress=progress)
        assert (
            sum("gopher_quality.min_words dropped 33% of the rows" in warning for warning in progress.warnings)
            == warned
        )
        assert len(progress.warnings) == warned


def test_the_remedy_fits_the_reason(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.jsonl", documents(4))
    with pytest.raises(InputError) as caught:
        clean(tmp_path / "out", data, lang="ko")
    assert caught.value.remedy == "check --lang"
    with pytest.raises(InputError) as caught:
        clean(tmp_path / "other", data, sets=[f"protect.files={data}"])
    assert "--protect" in caught.value.remedy


# ---------------------------------------------------------------- long chains


def test_a_long_chain_of_neighbours_is_taken_apart_to_its_end(tmp_path: Path) -> None:
    """Sliding windows over one text: each is like its neighbours, and no two that are kept are alike."""
    words = [f"w{number}" for number in range(1600)]
    rows = [{"id": f"c{start}", "text": " ".join(words[start * 4 : start * 4 + 100])} for start in range(375)]
    clean(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), rules="off", sets=["duplicates.keep=first"])
    kept = [int(row["id"][1:]) for row in rows_of(tmp_path / "out/corpus.jsonl")]
    # windows k steps apart share 96 - 4k of 96 + 4k shingles: alike for k of 1 and 2, and one pair in 800 shares no band
    assert sum(after - before < 3 for before, after in itertools.pairwise(kept)) <= 2
    assert 100 <= len(kept) <= 130
