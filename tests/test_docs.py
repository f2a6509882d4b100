"""What the documents say exists: every command is in both READMEs, every option and file they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ptft.cli import STAGES
from ptft.core.recipes import knobs

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "docs" / "README.zh.md"]
FILES = (".jsonl", ".html", ".json", ".md", ".onnx", ".gguf", ".parquet", ".jinja", ".png")
STAGE_PAGES = ("clean", "tokenizer", "pack", "pretrain", "finetune", "eval", "export")
PAIRS = [READMES, *([ROOT / "docs" / f"{name}.md", ROOT / "docs" / f"{name}.zh.md"] for name in STAGE_PAGES)]
PAGES = [page for pair in PAIRS for page in pair]
FLAGS = {
    part
    for stage in STAGES
    for leaf in knobs(stage.recipe)
    if leaf.meta.get("flag")
    for part in leaf.meta["flag"].split("/")
}
COMMON = {
    "--text",
    "--logdir",
    "--recipe",
    "--set",
    "--seed",
    "--dry-run",
    "--force",
    "--json",
    "--knobs",
    "--out",
    "--help",
}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_stage_is_explained(readme):
    text = readme.read_text(encoding="utf-8")
    for stage in STAGES:
        assert stage.name.split()[-1] in text, stage.name
    assert "make demo" in text and "make test" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_option_and_knob_named_exists(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= FLAGS | COMMON, named - FLAGS - COMMON
    known = {leaf.name for stage in STAGES for leaf in knobs(stage.recipe)}
    for name in re.findall(r"--set ([a-z_.]+[0-9a-z_]*)=", text) + re.findall(r"`([a-z_0-9]+\.[a-z_0-9]+)`", text):
        assert name in known or name.endswith(FILES), name


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].name)
def test_both_languages_show_the_same_commands_and_figures(pair):
    blocks = [re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL) for page in pair]
    shown = [
        [
            re.sub(r" +#.*", "", line)
            for block in found
            for line in block.splitlines()
            if line.startswith(("$ ", "ptft ")) or re.search(r"\d{3}", line)
        ]
        for found in blocks
    ]
    assert shown[0] == shown[1]


def test_the_readmes_commands_are_the_makefiles():
    makefile = (
        (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(D)", "build/demo").replace("$(PER_LABEL)", "4")
    )
    makefile = makefile.replace("$(TRAIN)", "build/demo/split/train.jsonl").replace(
        "$(TEST)", "build/demo/split/test.jsonl"
    )
    makefile = makefile.replace("$(1)", "1").replace("$*", "1").replace("$(PTFT)", "ptft")
    shown = [line[2:] for line in READMES[0].read_text(encoding="utf-8").splitlines() if line.startswith("$ ptft")]
    for command in shown:
        if command.split()[1] not in ("generate", "show"):
            assert command in makefile, command


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "docs" / "decisions.md", ROOT / "docs" / "log.md"], ids=lambda path: path.name
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
