import pytest

from ptft.core import record
from ptft.core.errors import InputError
from ptft.core.record import Ancestor, FileEntry, RunRecord


def test_round_trip(tmp_path):
    made = RunRecord(
        run="r", stage="clean", status="complete", fingerprint="f", command=("ptft", "clean"), recipe={"seed": 1}, seed=1,
        inputs=(FileEntry("a.jsonl", 3, "h", role="data"),), outputs=(FileEntry("b.jsonl", 4, "i", rows=2),),
        counts={"kept": 2}, metrics={"x": 0.5}, gates=("f1",), lineage=(Ancestor("q", "split", ("h",)),), versions={"ptft": "1"},
    )  # fmt: skip
    (tmp_path / record.NAME).write_bytes(record.to_json(made))
    assert record.read(tmp_path) == made


def test_absent_is_none(tmp_path):
    assert record.read(tmp_path) is None
    assert record.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"stage": "clean"}', '{"inputs": [{"x": 1}], "outputs": []}'])
def test_foreign_run_json_is_named(tmp_path, text):
    (tmp_path / record.NAME).write_text(text)
    with pytest.raises(InputError, match="not a run record"):
        record.read(tmp_path)
