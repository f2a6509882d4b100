"""Every recipe in recipes/ parses as the recipe of the stage it names."""

from pathlib import Path

import pytest
import yaml

from ptft.cli import STAGES
from ptft.core.recipes import resolve

OF_EVAL = ("tasks", "probes")  # what `ptft eval --task` reads, with tests of their own
RECIPES = sorted(
    file for file in Path(__file__).parent.parent.joinpath("recipes").rglob("*.yaml") if file.parent.name not in OF_EVAL
)


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_recipe_parses(file):
    named = yaml.safe_load(file.read_text())["stage"]
    stage = next(stage for stage in STAGES if stage.name == named)
    # paths a recipe leaves to the command line are required by the stage, not by the file
    needs = {"pack": ["tokenizer=somewhere"], "finetune domain": ["general=somewhere"]}.get(named, [])
    resolve(stage.recipe, stage.name, file=file, sets=needs)
