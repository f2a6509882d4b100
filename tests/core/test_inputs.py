"""A knob that takes a name or a file: the file is an input, hashed by content; the name is not."""

from __future__ import annotations

import pytest

from ptft.core.errors import InputError
from ptft.core.inputs import find
from ptft.stages.pretrain.recipe import STAGE, PretrainRecipe


def hashes(tmp_path, model):
    found = find(STAGE, PretrainRecipe(model=model), {}, tmp_path / "spool")
    return [entry.hash for entry in found.entries if entry.role == "model"]


def test_a_file_is_hashed_and_a_name_is_not(tmp_path):
    assert hashes(tmp_path, "qwen3-0.6b") == hashes(tmp_path, "llama") == []
    config = tmp_path / "config.json"
    config.write_text("{}")
    before = hashes(tmp_path, str(config))
    config.write_text('{"model_type": "llama"}')
    assert len(before) == 1 and before != hashes(tmp_path, str(config))
    with pytest.raises(InputError, match="no such file"):
        hashes(tmp_path, str(tmp_path / "none.json"))
