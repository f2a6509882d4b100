"""The house keeps its shape. `make check` runs import-linter; here is what it cannot see."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ptft.cli import STAGES

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "ptft").rglob("*.py"))
FREE_TO_PRINT = ("cli.py", "ui.py")
FREE_TO_EXIT = ("workers.py", "processes.py")  # the processes beside the first have no command line to catch for them


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_and_stages_neither_print_nor_exit(path):
    if path.name in FREE_TO_PRINT:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.exit", "exit", "os._exit") or path.name in FREE_TO_EXIT, (
                f"{path}:{node.lineno}"
            )


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_who_knows_the_command_knows_the_folder(stage):
    assert stage.module.startswith(f"ptft.stages.{stage.name.split()[0]}.")
    module = stage.load()
    assert callable(module.run) and callable(module.plan)


def test_recipes_are_frozen():
    for stage in STAGES:
        assert stage.recipe.__dataclass_params__.frozen, stage.name
