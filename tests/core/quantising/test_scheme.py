"""What is passed: schemes that are refused, what a matrix takes, what integers stand for."""

from __future__ import annotations

import pytest
import torch

from ptft.core.errors import UsageError
from ptft.core.quantising import Quantised, Scheme


@pytest.mark.parametrize("wrong", [{"bits": 3}, {"group": 48}, {"method": "nf4"}, {"activations": "int4"}])
def test_an_unknown_scheme_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Scheme(**wrong)  # type: ignore[arg-type]


def test_a_group_must_divide_the_row() -> None:
    with pytest.raises(UsageError, match="rows of 96 weights"):
        Scheme(4, 64).groups(96)
    assert Scheme(4, 32).groups(96) == 3
    assert Scheme(8, 0).groups(96) == 1


def test_stored_bits_are_those_of_known_formats() -> None:
    """llama.cpp: Q4_0 takes 4.5 bits a weight, Q8_0 8.5; with a zero point a group of 128 takes 4 + (16 + 4) / 128."""
    assert Scheme(4, 32).stored_bits(8, 64) == 4.5 * 8 * 64
    assert Scheme(8, 32).stored_bits(8, 64) == 8.5 * 8 * 64
    assert Scheme(4, 128, symmetric=False).stored_bits(8, 256) == (4 + 20 / 128) * 8 * 256


def test_dequantised_takes_the_zero_point_away_and_scales() -> None:
    ints = torch.tensor([[1, 2, -3, 4]], dtype=torch.int8)
    scales, zeros = torch.tensor([[0.5, 2.0]]), torch.tensor([[1, -2]], dtype=torch.int8)
    found = Quantised(ints, scales, zeros, 4, 2)
    assert found.dequantised().tolist() == [[0.0, 0.5, -2.0, 12.0]]
    assert Quantised(ints, scales, None, 4, 2).dequantised().tolist() == [[0.5, 1.0, -6.0, 8.0]]
