"""Weights as they lie in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptft.core.errors import InputError
from ptft.core.weights import sort_header, tensors


def test_sorting_a_header_changes_no_tensor(tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    given = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    notes = {f"key{i}": f'{{"value": "{i} é"}}' for i in range(20)}
    save_file(given, path, notes)
    size = path.stat().st_size
    sort_header(path)
    once = path.read_bytes()
    sort_header(path)
    assert path.read_bytes() == once and len(once) == size
    with safe_open(path, "pt") as file:
        assert file.metadata() == notes
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in given.items())


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="corrupt or truncated"):
        list(tensors(tmp_path))
