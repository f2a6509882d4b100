"""The benchmark of fine-tuning measures what it says: the rows, their order, the clock, the tokens that a model was shown."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A module of benchmarks/ or of its peers' scripts, which finds its neighbours as when it is run."""
    before = set(sys.modules)
    monkeypatch.delitem(sys.modules, "finetuning", raising=False)  # the helper of other tests has that name too
    for folder in (FOLDER, FOLDER / "finetune_peers"):
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _row(question: str, lang: str) -> dict:
    return {"lang": lang, "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]}


def test_no_question_is_both_learnt_and_scored(module: Callable[[str], ModuleType]) -> None:
    pools = {name: [_row(f"{name} {number % 90}", name) for number in range(270)] for name in ("en", "zh")}
    rows, held = module("finetuning.data")._drawn(pools, 60, seed=3)
    asked = [{row["messages"][0]["content"] for row in part} for part in (rows, held)]
    assert len(rows) == 60 and len(held) == module("finetuning.data").HELD
    assert not asked[0] & asked[1]
    assert sum(row["lang"] == "zh" for row in rows) == 30


def test_where_one_language_has_few_rows_the_other_gives_more(module: Callable[[str], ModuleType]) -> None:
    pools = {"en": [_row(f"en {n}", "en") for n in range(200)], "zh": [_row(f"zh {n}", "zh") for n in range(40)]}
    rows, held = module("finetuning.data")._drawn(pools, 60, seed=3)
    assert len(rows) == 60 and sum(row["lang"] == "zh" for row in rows) == 40 - len(held) // 2


def test_the_others_get_the_rows_in_ptfts_order(module: Callable[[str], ModuleType]) -> None:
    import numpy as np

    order = module("finetuning.data")._order(12, seed=5)
    assert order == list(np.random.default_rng((5, 0)).permutation(12)) and order != sorted(order)


def test_the_clock_leaves_out_the_first_steps(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    trainers = module("finetuning.trainers")
    clock = {"at": [100.0, 130.0, 132.0, 134.0, 136.0], "before": 5, "peak": 9, "gpu": 0, "threads": 1}
    (tmp_path / "m.json").write_text(json.dumps(clock))
    (tmp_path / "m.tokens.json").write_text(json.dumps({"shown": [8, 16, 24, 32, 40], "real": [6, 12, 18, 24, 30]}))
    done = module("pretraining.processes").Done(200.0, 150.0)
    found = trainers.measured(tmp_path / "m.json", done, [2.0, 1.0], given=6.0)
    assert (found.step, found.speed) == (pytest.approx(2.0), pytest.approx(3.0))
    assert (found.shown, found.real, found.peak, found.losses) == (40, 30, 9, (2.0, 1.0))


def test_other_rows_than_were_given_are_refused(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    peers, data, trainers = module("finetuning.peers"), module("finetuning.data"), module("finetuning.trainers")
    chats = data.Chats(tmp_path, tmp_path, tmp_path, 4, 100, 40, 400, 0)
    task = trainers.Task(tmp_path, chats, "full", 2, 2, 2, 128, 1e-4, 1)

    def shown(real: int) -> object:
        return trainers.Trained(1, 1, 1, 1, 120, real, 0, 0, 0, ())

    peers._require_same_rows(trainers.TRAINERS[0], task, shown(96))
    for wrong in (95, 101):
        with pytest.raises(RuntimeError, match="was shown"):
            peers._require_same_rows(trainers.TRAINERS[0], task, shown(wrong))


def test_tokens_are_counted_where_they_enter_the_model(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nwords, places = torch.nn.Embedding(50, 4), torch.nn.Embedding(8, 4)\n"
        "optimizer = torch.optim.SGD(words.parameters(), lr=0.1)\n"
        "for step in range(2):\n    ids = torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0]])\n"
        "    (words(ids) + places(torch.arange(4))).sum().backward()\n    optimizer.step()\n"
    )
    command = [sys.executable, str(FOLDER / "finetune_peers" / "counted.py"), str(tmp_path / "m.json"), "50", "0"]
    subprocess.run([*command, str(script)], check=True)
    assert json.loads((tmp_path / "m.tokens.json").read_text()) == {"shown": [8, 16], "real": [4, 8]}
    assert len(json.loads((tmp_path / "m.json").read_text())["at"]) == 2


def test_only_what_the_assistant_says_has_a_label(module: Callable[[str], ModuleType]) -> None:
    import tiny

    common = module("common")
    messages = _row("hello", "en")["messages"]
    made = common.encoded(tiny.tokenizer(), messages)
    said = [token for token in made["labels"] if token != common.IGNORED]
    assert tiny.tokenizer().decode(said) == "yes<|im_end|>" and len(made["labels"]) == len(made["input_ids"])
