"""`ptft split`: every row once, shares kept, near-duplicates never apart."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from documents import documents
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.errors import InputError, RecipeError
from ptft.core.minhash import shingles, tokenise
from ptft.core.progress import Silent
from ptft.core.recipes import resolve
from ptft.core.record import RunRecord
from ptft.runner import Request, execute
from ptft.stages.split.assign import assign
from ptft.stages.split.recipe import STAGE, SplitRecipe

PARTS = ("train", "val", "test")


def split(out: Path, *inputs: Path, progress: Silent | None = None, **flags: Any) -> RunRecord:
    recipe = resolve(
        SplitRecipe, "split", flags={"workers": "1", **{name: str(value) for name, value in flags.items()}}
    )
    request = Request(STAGE, recipe, {"data": tuple(map(str, inputs))}, ("ptft", "split"), out)
    record = execute(request, progress or Silent()).record
    assert record is not None
    return record


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def parts_of(out: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: rows_of(out / f"{name}.jsonl") for name in PARTS}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def families(seed: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Near-duplicates: as many variants of each document as its size says (a word more at the end), in a shuffled order."""
    rows = []
    for number, (document, size) in enumerate(zip(documents(len(sizes), seed), sizes, strict=True)):
        rows += [
            {"family": number, "text": document["text"] + (f" v{variant}" if variant else "")}
            for variant in range(size)
        ]
    random.Random(seed).shuffle(rows)
    return [{"id": str(number), **row} for number, row in enumerate(rows)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 5), min_size=1, max_size=25), st.integers(0, 3))
def test_every_row_once_and_no_family_apart(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], recipe_seed: int
) -> None:
    tmp = tmp_path_factory.mktemp("split")
    rows = families(seed, sizes)
    split(tmp / "out", write_rows(tmp / "in.jsonl", rows), seed=recipe_seed)
    parts = parts_of(tmp / "out")
    place = {row["id"]: name for name, part in parts.items() for row in part}
    assert sum(map(len, parts.values())) == len(rows) == len(place)
    for part in parts.values():
        numbers = [int(row["id"]) for row in part]
        assert numbers == sorted(numbers)  # the input's order
    for family in range(len(sizes)):
        assert len({place[row["id"]] for row in rows if row["family"] == family}) == 1


def test_no_similar_pair_is_apart_by_the_definition(tmp_path: Path) -> None:
    """All pairs, by exact Jaccard: none of .7 and more lies on two sides."""
    rows = families(4, [1, 2, 3, 4, 5] * 8)
    split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), val=0.3, test=0.3)
    place = {row["id"]: name for name, part in parts_of(tmp_path / "out").items() for row in part}
    texts = [row["text"] for row in rows]
    shingled, bounds = shingles(texts, tokenise(texts), 5)
    sets = [set(shingled[bounds[number] : bounds[number + 1]].tolist()) for number in range(len(rows))]
    for left in range(len(rows)):
        for right in range(left):
            if len(sets[left] & sets[right]) >= 0.7 * len(sets[left] | sets[right]):
                assert place[rows[left]["id"]] == place[rows[right]["id"]]


def test_rows_are_written_as_they_came(tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "text": f"text  {number}\r\n", "more": {"a": [number, None]}} for number in range(50)]
    record = split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows))
    assert (
        sorted(
            (row for part in parts_of(tmp_path / "out").values() for row in part), key=lambda row: int(row["id"][1:])
        )
        == rows
    )
    assert {name: record.counts[name] for name in PARTS} == {"train": 40, "val": 5, "test": 5}
    assert record.counts["clusters"] == 0 and record.counts["largest_cluster"] == 1


def test_a_part_without_a_share_is_not_written(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(20))
    split(tmp_path / "out", path, test=0)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["run.json", "train.jsonl", "val.jsonl"]
    with pytest.raises(RecipeError, match="nothing is left to train on"):
        split(tmp_path / "none", path, val=0.5, test=0.5)


def test_an_empty_part_that_was_asked_for_is_warned_of(tmp_path: Path) -> None:
    progress = Silent()
    record = split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", documents(2)), progress=progress)
    assert record.counts["train"] == 2
    assert [warning.split()[0] for warning in progress.warnings] == ["val", "test"]


def test_the_seed_decides(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", documents(60))
    parts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        split(tmp_path / name, path, seed=seed)
        parts.append(parts_of(tmp_path / name))
    assert parts[0] == parts[1] != parts[2]


def test_counts_say_what_was_kept_together(tmp_path: Path) -> None:
    record = split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", families(1, [1] * 30 + [4, 2])))
    assert record.counts["clusters"] == 2
    assert record.counts["rows_in_clusters"] == 6
    assert record.counts["largest_cluster"] == 4
    assert record.counts["rows_read"] == 36


# ---------------------------------------------------------------- shares and strata


def test_stratified_shares(tmp_path: Path) -> None:
    labels = ["a"] * 100 + ["b"] * 40 + ["c"] * 10
    rows = [{**row, "label": label} for row, label in zip(documents(150), labels, strict=True)]
    split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), stratify="label", val=0.2, test=0.1)
    counts = {name: Counter(row["label"] for row in part) for name, part in parts_of(tmp_path / "out").items()}
    assert counts == {
        "train": {"a": 70, "b": 28, "c": 7},
        "val": {"a": 20, "b": 8, "c": 2},
        "test": {"a": 10, "b": 4, "c": 1},
    }


def test_a_row_without_the_stratum_is_rejected(tmp_path: Path) -> None:
    rows = [
        *({**row, "label": None if number == 3 else "x"} for number, row in enumerate(documents(30))),
        {"text": "no label"},
    ]
    path = write_rows(tmp_path / "in.jsonl", rows)
    with pytest.raises(InputError, match="no field 'label' to stratify by") as caught:
        split(tmp_path / "strict", path, stratify="label")
    assert caught.value.where == "in.jsonl:4"
    record = split(tmp_path / "out", path, stratify="label", max_bad_rows=0.1)
    assert record.counts["rows_rejected"] == 2
    assert [row["line"] for row in rows_of(tmp_path / "out/rejected.jsonl")] == [4, 31]
    assert sum(map(len, parts_of(tmp_path / "out").values())) == 29


@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 4),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (0.6, 0.0, 0.4), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)]), st.integers(0, 5),
)  # fmt: skip
def test_shares_are_met_as_closely_as_clusters_allow(
    sizes: list[int], values: int, shares: tuple[float, float, float], seed: int
) -> None:
    rng = random.Random(seed)
    roots = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    strata = [rng.randrange(values) for _ in roots]
    parts = assign(roots, strata, shares, seed)
    for root in set(roots.tolist()):
        assert len(set(parts[roots == root].tolist())) == 1
    for part, share in enumerate(shares):
        count = int(np.sum(parts == part))
        assert share > 0 or count == 0
        assert abs(count - share * len(roots)) <= max(sizes) + values


@settings(max_examples=100)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.integers(0, 5))
def test_single_rows_meet_their_shares_within_one_row(strata: list[int], seed: int) -> None:
    shares = (0.7, 0.2, 0.1)
    parts = assign(np.arange(len(strata)), strata, shares, seed)
    for stratum, count in Counter(strata).items():
        for part, share in enumerate(shares):
            found = sum(1 for value, got in zip(strata, parts.tolist(), strict=True) if (value, got) == (stratum, part))
            assert abs(found - share * count) < 1
    for part, share in enumerate(
        shares
    ):  # and over all of them, however many strata are too small for a share of their own
        assert abs(int(np.sum(parts == part)) - share * len(strata)) <= 2


def test_many_small_strata_do_not_starve_a_part() -> None:
    strata = [number // 3 for number in range(900)]
    parts = assign(np.arange(900), strata, (0.8, 0.1, 0.1), 1)
    assert np.bincount(parts).tolist() == [720, 90, 90]


# ---------------------------------------------------------------- the same result, however it is worked


def test_blocks_and_workers_change_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", families(2, [1, 2, 3] * 20))
    split(tmp_path / "one", path)
    for workers, block in ((1, 7), (2, 30)):
        split(tmp_path / f"{workers}", path, workers=workers, block_rows=block)
        assert parts_of(tmp_path / f"{workers}") == parts_of(tmp_path / "one")


def test_killed_and_run_again_is_as_if_never_killed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [*families(2, [1, 2, 3] * 100), *documents(1500, 8)])
    split(tmp_path / "whole", path)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "ptft",
        "split",
        str(path),
        "-o",
        str(out),
        "--workers",
        "1",
        "--set",
        "block_rows=20",
    ]
    for wanted in (1, 30):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((out / ".ptft/state").glob("block-*"))) < wanted:
            time.sleep(0.002)
        process.kill()
        process.wait()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert parts_of(out) == parts_of(tmp_path / "whole")
    assert orjson.loads(done.stdout)["counts"]["train"] == len(rows_of(out / "train.jsonl"))


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    "fields",
    [
        lambda text: {"messages": [{"role": "user", "content": text}, {"role": "tool", "content": "x"}]},
        lambda text: {"instruction": text, "input": "", "output": "yes"},
        lambda text: {"conversations": [{"from": "human", "value": text}]},
        lambda text: {"prompt": text, "completion": "yes"},
        lambda text: {"text": text, "label": 1},
        lambda text: {"text": text, "text_pair": "other", "label": 0},
        lambda text: {"tokens": text.split(), "tags": ["O"] * len(text.split())},
        lambda text: {"source": text, "target": "t"},
        lambda text: {"prompt": text, "chosen": "c", "rejected": "r"},
    ],
)
def test_every_shape(tmp_path: Path, fields: Any) -> None:
    texts = [row["text"] for row in documents(20)[::2]]
    rows = [{"id": str(number), **fields(text)} for number, text in enumerate([*texts, *texts])]
    record = split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", rows), val=0.3, test=0.3)
    assert record.counts["clusters"] == 10 and record.counts["largest_cluster"] == 2
    place = {row["id"]: name for name, part in parts_of(tmp_path / "out").items() for row in part}
    assert all(place[str(number)] == place[str(number + 10)] for number in range(10))


def test_rows_of_no_shape_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no field 'text'; the row has 'id', 'body'"):
        split(tmp_path / "out", write_rows(tmp_path / "in.jsonl", [{"body": "x"}]))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [{**row, "label": "x"} for row in documents(50)])
    recipe = resolve(SplitRecipe, "split", flags={"stratify": "label"})
    plan = execute(Request(STAGE, recipe, {"data": (str(path),)}, ("ptft",), dry_run=True), Silent()).plan
    assert plan is not None
    lines = dict(plan.lines)
    assert lines["rows"] == "50" and lines["train"] == "about 40 rows" and lines["values of label"] == '"x"'
    assert list(tmp_path.iterdir()) == [path]
