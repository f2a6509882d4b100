"""What `--to` says."""

from __future__ import annotations

import pytest

from ptft.core.errors import InputError, UsageError
from ptft.core.quantising import Scheme
from ptft.stages.export.asked import Asked, asked_of
from ptft.stages.export.making import cells_of
from ptft.stages.export.recipe import ExportRecipe


def test_words_may_come_in_any_order_after_the_first() -> None:
    assert asked_of("int4") == Asked("int4", "int4")
    assert asked_of("int4-g64-awq") == Asked("int4-g64-awq", "int4", "awq", "none", 64)
    assert asked_of(" INT8-Static-GPTQ ") == Asked("int8-static-gptq", "int8", "gptq", "static", None)
    assert asked_of("fp16").is_float and not asked_of("mixed").is_float


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("int3", "begins with 'int3'"), ("int4-gpqt", "'gpqt' says nothing"), ("int4-g32-g64", "a second group"),
        ("int4-rtn-awq", "a second method"), ("fp16-g32", "rounds nothing"), ("int4-dynamic", "beside int8 weights alone"),
        ("int8-dynamic-g32", "an output row's"), ("", "begins with ''"), ("int4-g48", "'g48' says nothing"),
    ],
)  # fmt: skip
def test_what_is_no_scheme_says_why(name: str, because: str) -> None:
    with pytest.raises(UsageError, match=because):
        asked_of(name)


def test_the_recipe_says_what_the_name_does_not() -> None:
    assert asked_of("int4").scheme(ExportRecipe()) == Scheme(4, 32, True, "rtn")
    assert asked_of("int4").scheme(ExportRecipe(calibration="rows.jsonl")) == Scheme(4, 32, True, "gptq")
    assert asked_of("int4-hqq").scheme(ExportRecipe(calibration="rows.jsonl", method="awq")).method == "hqq"
    assert asked_of("int4").scheme(ExportRecipe(method="hqq", group_size=128, symmetric=False)) == Scheme(
        4, 128, False, "hqq"
    )
    assert asked_of("int8").scheme(ExportRecipe(calibration="rows.jsonl")) == Scheme(8, 0, True, "rtn")
    assert asked_of("int8").scheme(ExportRecipe(), int8_group=128).group == 128
    assert asked_of("int8-dynamic").scheme(ExportRecipe(), int8_group=128) == Scheme(8, 0, True, "rtn", "dynamic")


def test_without_names_it_is_int8_or_what_the_bits_mean() -> None:
    assert [asked.name for asked in ExportRecipe().schemes()] == ["int8"]
    assert [asked.name for asked in ExportRecipe(bits_per_weight=4.5, calibration="x").schemes()] == ["mixed"]


def test_problems_between_knobs() -> None:
    for knobs, expected in (
        ({"to": ("int4-gptq",)}, "int4-gptq is made with rows of text"),
        ({"to": ("int8-static",)}, "int8-static is made with rows of text"),
        ({"to": ("mixed",), "calibration": "x"}, "wants --bits-per-weight"),
        ({"to": ("int4",), "bits_per_weight": 4.5}, "only mixed spends bits"),
        ({"to": ("int4", "int4")}, "int4 is there twice"),
        ({"to": ("int5",)}, "'int5' is no scheme"),
        ({"max_loss_increase": 0.01}, "name some with --verify"),
        ({"best": "fastest", "speed": False}, "fastest needs speed"),
        ({"format": ()}, "name torchao"),
    ):
        assert any(expected in problem for problem in ExportRecipe(**knobs).problems()), expected
    assert not ExportRecipe(to=("int4-rtn", "int8-dynamic"), format=("onnx", "gguf")).problems()


def test_pairs_that_no_format_holds_are_left_out_and_said() -> None:
    found, lacking = cells_of(ExportRecipe(to=("int4", "int8-dynamic", "fp16"), format=("onnx", "gguf")))
    assert [cell.name for cell in found] == [
        "int4-onnx", "int4-gguf", "int8-dynamic-onnx", "fp16-onnx", "fp16-gguf"
    ]  # fmt: skip
    assert len(lacking) == 1 and lacking[0].startswith("no int8-dynamic in gguf: ")


@pytest.mark.parametrize(
    ("to", "formats", "because"),
    [
        (("int8-static",), ("torchao",), "no ranges"), (("int4", "fp16"), ("torchao",), "in full precision"),
        (("int8-dynamic",), ("onnx", "gguf"), "llama.cpp rounds"), (("bf16",), ("onnx",), "fp16 or fp32"),
    ],
)  # fmt: skip
def test_a_scheme_or_format_left_with_nothing_is_refused(to: tuple[str, ...], formats: tuple, because: str) -> None:
    with pytest.raises(InputError, match=because):
        cells_of(ExportRecipe(to=to, format=formats))


def test_embeddings_in_compressed_tensors_stay() -> None:
    with pytest.raises(InputError, match="no place for quantised embeddings"):
        cells_of(ExportRecipe(format=("compressed-tensors",), embeddings="int8"))
