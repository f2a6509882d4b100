from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ptft.core.convert import convert
from ptft.core.errors import InputError, RecipeError
from ptft.core.recipes import Recipe, as_dict, identity_of, knob, knobs, resolve


@dataclass(frozen=True)
class Inner:
    rate: float = knob(0.5, "a share", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Sample(Recipe):
    vocab_size: int = knob(1000, "size", flag="--vocab-size", low=300)
    tokens: int | Literal["auto"] = knob("auto", "budget")
    preset: Literal["gpt2", "qwen"] = knob("gpt2", "preset")
    inner: Inner = knob(Inner, "nested")
    columns: dict[str, str] = knob({}, "renames")
    names: tuple[str, ...] = knob((), "names")
    tokenizer: str = knob("", "folder", path="folder")
    workers: int = knob(1, "processes", identity=False)


def test_precedence_is_default_file_flag_set(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("stage: sample\nvocab_size: 400\npreset: qwen\ninner: {rate: 0.1}\n")
    made = resolve(Sample, "sample", file=file, flags={"vocab_size": "500", "preset": None}, sets=["vocab_size=600"])
    assert (made.vocab_size, made.preset, made.inner.rate, made.seed) == (600, "qwen", 0.1, 1)


def test_three_mistakes_are_reported_together_with_the_nearest_names(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("vocab_sise: 400\nvocab_size: many\ninner:\n  rate: 7\n")
    with pytest.raises(RecipeError) as error:
        resolve(Sample, "sample", file=file)
    text = str(error.value)
    assert len(error.value.problems) == 3
    assert (
        "did you mean 'vocab_size'" in text and "whole number" in text and "inner.rate = 7.0: must be at most 1" in text
    )


def test_a_wrong_choice_names_the_near_one():
    with pytest.raises(RecipeError, match="did you mean 'qwen'"):
        resolve(Sample, "sample", sets=["preset=qwenn"])


def test_a_nested_name_without_its_parent_is_found():
    with pytest.raises(RecipeError, match=r"did you mean 'inner\.rate'"):
        resolve(Sample, "sample", sets=["rate=0.1"])


def test_dict_knobs_take_dotted_keys():
    assert resolve(Sample, "sample", sets=["columns.text=body", "columns.label=class"]).columns == {
        "text": "body",
        "label": "class",
    }


def test_a_key_given_twice_is_refused(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("vocab_size: 400\nvocab_size: 500\n")
    with pytest.raises(RecipeError, match="given twice"):
        resolve(Sample, "sample", file=file)


def test_a_recipe_of_another_stage_is_refused(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("stage: pretrain\n")
    with pytest.raises(RecipeError, match="recipe of the stage 'pretrain'"):
        resolve(Sample, "sample", file=file)


@pytest.mark.parametrize("text", ["{a: b", "- 1\n- 2\n", "a: [1"])
def test_broken_yaml_says_where(tmp_path, text):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        resolve(Sample, "sample", file=file)
    assert str(file) in str(error.value)


def test_a_missing_recipe_file_is_bad_input(tmp_path):
    with pytest.raises(InputError):
        resolve(Sample, "sample", file=tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        ("25M", int, 25_000_000),
        ("1.5K", int, 1500),
        ("4e-3", float, 0.004),
        ("2%", float, 0.02),
        ("a, b", tuple[str, ...], ("a", "b")),
        (None, int | None, None),
        ("auto", int | Literal["auto"], "auto"),
        ("7", int | Literal["auto"], 7),
        (3, str, "3"),
    ],
)
def test_convert(raw, kind, value):
    assert convert(raw, kind) == value


@pytest.mark.parametrize(
    ("raw", "kind"), [("1.5", int), (True, int), ("x", float), ("yes", bool), (True, str), ([], dict[str, str])]
)
def test_convert_refuses(raw, kind):
    with pytest.raises(ValueError, match="expected"):
        convert(raw, kind)


@given(
    st.builds(
        Sample,
        vocab_size=st.integers(300, 10**9),
        tokens=st.one_of(st.just("auto"), st.integers(0, 10**12)),
        preset=st.sampled_from(["gpt2", "qwen"]),
        inner=st.builds(Inner, rate=st.floats(0, 1)),
        names=st.lists(st.from_regex(r"[a-z]+", fullmatch=True)).map(tuple),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_a_recipe_survives_its_own_record(recipe):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_text(yaml.safe_dump(as_dict(recipe)))
        assert resolve(Sample, "sample", file=file) == recipe


def test_identity_leaves_out_paths_and_what_does_not_matter():
    assert identity_of(Sample(workers=4, tokenizer="a")) == identity_of(Sample(workers=2, tokenizer="b"))
    assert identity_of(Sample(vocab_size=400)) != identity_of(Sample())


def test_every_knob_of_every_stage_has_help():
    from ptft.cli import STAGES

    for stage in STAGES:
        assert all(leaf.help for leaf in knobs(stage.recipe)), stage.name
