from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from ptft.core.contracts import Output

settings.register_profile("ptft", deadline=None)  # a timing never decides a test
settings.load_profile("ptft")


@pytest.fixture(scope="session")
def output_of() -> Callable[[Path], Output]:
    """An `Output` as the runner lays it out."""

    def make(folder: Path) -> Output:
        out = Output(folder, folder / ".ptft" / "new", folder / ".ptft" / "state")
        out.new.mkdir(parents=True, exist_ok=True)
        out.state.mkdir(parents=True, exist_ok=True)
        return out

    return make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small byte-level BPE tokenizer."""
    import tiny

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer().save_pretrained(folder)
    return folder
