import errno
import pickle

import pytest

from ptft.core.errors import (
    GateError,
    InputError,
    Interrupted,
    PtftError,
    RecipeError,
    RunError,
    UsageError,
    from_os_error,
)


def test_exit_codes_are_the_contract():
    kinds = {UsageError: 2, RecipeError: 2, InputError: 3, RunError: 4, GateError: 5, Interrupted: 130}
    assert {kind: kind.exit_code for kind in kinds} == kinds


def test_an_error_says_where_what_and_what_next():
    error = InputError("bad", where="a.jsonl:3", remedy="mend it")
    assert str(error) == "a.jsonl:3: bad" and error.remedy == "mend it"


@pytest.mark.parametrize(
    "error", [InputError("bad", where="f", remedy="mend"), RecipeError("clean", ["a", "b"]), Interrupted()]
)
def test_errors_survive_the_way_back_from_a_worker(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again.remedy == error.remedy


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "f"), "f: the disk is full"),
        (OSError("604295 requested and 209920 written"), "the disk is full"),  # how numpy says it
        (OSError(errno.EROFS, "Read-only file system", "f"), "f: cannot write here"),
        (OSError(errno.EIO, "Input/output error", "f"), "f: Input/output error"),
    ],
)
def test_file_system_errors_are_clear(error, text):
    clear = from_os_error(error)
    assert isinstance(clear, PtftError) and clear.exit_code == 4 and str(clear) == text
