"""The command line: names, help, exit codes; the one place that catches.

A stage's flags are read off its recipe, so a knob is declared once. Every value reaches the recipe as text, and all that is
wrong with any of them is reported together.
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

import ptft
from ptft.core import recipes
from ptft.core.contracts import Stage
from ptft.core.errors import GateError, Interrupted, PtftError, UsageError, from_os_error
from ptft.stages.clean.recipe import STAGE as CLEAN
from ptft.stages.eval.recipe import STAGE as EVAL
from ptft.stages.export.recipe import STAGE as EXPORT
from ptft.stages.finetune.recipe import DOMAIN, INSTRUCTION, MERGE, TASK
from ptft.stages.generate.recipe import STAGE as GENERATE
from ptft.stages.pack.recipe import STAGE as PACK
from ptft.stages.pretrain.recipe import STAGE as PRETRAIN
from ptft.stages.split.recipe import STAGE as SPLIT
from ptft.stages.tokenizer.recipe import STAGE as TOKENIZER

STAGES = (CLEAN, SPLIT, TOKENIZER, PACK, PRETRAIN, DOMAIN, INSTRUCTION, TASK, MERGE, EVAL, EXPORT)
ClickError: type[Exception] = typer.BadParameter.__mro__[
    2
]  # click's base error, also where typer carries its own click
PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 120},
}


class _InOrder(typer.core.TyperGroup):
    """Lists the commands in the order of the line, where typer would put groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = [stage.name.split()[0] for stage in STAGES]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


app = typer.Typer(
    cls=_InOrder,
    help="Pre-train, fine-tune: raw text to a small, quantised, evaluated language model, one stage at a time.",
    no_args_is_help=True,
    **PLAIN,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ptft {ptft.__version__}\n")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="say which ptft this is")
    ] = False,
) -> None:
    """What stands before a command."""


finetune = typer.Typer(
    help="Adapt a checkpoint: to a domain, to instructions, or to a task.", no_args_is_help=True, **PLAIN
)


# ---------------------------------------------------------------- a command from a stage

COMMON: tuple[tuple[str, Any, Any, tuple[str, ...], str], ...] = (
    ("recipe_file", Path | None, None, ("--recipe",), "a YAML file of knobs"),
    ("sets", list[str], [], ("--set",), "any knob of the recipe (dotted, repeatable)"),
    ("dry_run", bool, False, ("--dry-run",), "say what would be done and what it would cost; write nothing"),
    ("force", bool, False, ("--force",), "make a finished or unfinished output again"),
    ("as_json", bool, False, ("--json",), "print the run record on standard output"),
    ("quiet", bool, False, ("-q", "--quiet"), "only warnings and errors"),
    ("list_knobs", bool, False, ("--knobs",), "list every knob of the recipe with its default"),
    ("debug", bool, False, ("--debug",), "show the traceback of an error"),
)  # fmt: skip
_COMMON_METAVARS = {"recipe_file": "FILE", "sets": "KEY=VALUE"}


def _command(stage: Stage, body: Callable[..., None], common: Sequence[str]) -> Callable[..., None]:
    """A function with the signature typer needs: the stage's arguments, its everyday flags, the common options."""
    parameters = [_parameter(*_argument(argument)) for argument in stage.arguments]
    if "out" in common:
        parameters.append(
            _parameter("out", Path | None, None, typer.Option("-o", "--out", help="the folder to make", metavar="DIR"))
        )
    flags = {leaf.meta["flag"]: leaf for leaf in recipes.knobs(stage.recipe) if leaf.meta.get("flag")}
    for flag, leaf in flags.items():
        kind = bool | None if leaf.type is bool else str | None
        names = flag.split("/") if leaf.type is not bool else [flag]
        shown = f"{leaf.help} [default: {_default(leaf.default)}]" if leaf.default not in (None, "", ()) else leaf.help
        metavar = None if leaf.type is bool else _metavar(leaf)
        parameters.append(
            _parameter(_identifier(leaf.name), kind, None, typer.Option(*names, help=shown, metavar=metavar))
        )
    for name, kind, default, option_names, text in COMMON:
        if name in common:
            parameters.append(
                _parameter(
                    name, kind, default, typer.Option(*option_names, help=text, metavar=_COMMON_METAVARS.get(name))
                )
            )

    def command(**given: Any) -> None:
        raw = {leaf.name: given.pop(_identifier(leaf.name)) for leaf in flags.values()}
        positional = {argument.name: given.pop(argument.name) for argument in stage.arguments}
        body(stage, positional, raw, **given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = stage.help
    return command


def _argument(argument: Any) -> tuple[str, Any, Any, Any]:
    # optional for typer, required by ourselves: so that `--knobs` and our own error line work without it
    kind = list[str] | None if argument.kind == "rows" else str | None
    return argument.name, kind, None, typer.Argument(help=argument.help, metavar=argument.metavar, show_default=False)


def _parameter(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _identifier(knob_name: str) -> str:
    return "knob_" + knob_name.replace(".", "__")


def _default(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _metavar(leaf: recipes.Knob) -> str:
    if leaf.meta.get("path") in ("rows", "folder"):
        return "FILE" if leaf.meta["path"] == "rows" else "DIR"
    text = str(leaf.type)
    return "N" if "int" in text else "X" if "float" in text else "TEXT"


def _run_stage(
    stage: Stage,
    positional: dict[str, Any],
    flags: dict[str, Any],
    *,
    out: Path | None,
    recipe_file: Path | None,
    sets: list[str],
    dry_run: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    list_knobs: bool,
    debug: bool,
) -> None:
    from ptft.runner import Request, execute
    from ptft.ui import Terminal

    terminal = Terminal(quiet)
    if list_knobs:
        _print_knobs(stage)
        return
    recipe = recipes.resolve(stage.recipe, stage.name, file=recipe_file, flags=flags, sets=sets)
    arguments = _arguments(stage, positional)
    if out is None and not dry_run:
        raise UsageError("no output folder", remedy=f"ptft {stage.name} ... -o DIR")
    _prepare(arguments, flags)
    command = ("ptft", *sys.argv[1:])
    try:
        outcome = execute(Request(stage, recipe, arguments, command, out, force, dry_run), terminal)
    except GateError:  # the output is complete: a script wants it now of all times
        _print_result(out, as_json)
        raise
    if outcome.plan is not None:
        terminal.plan(stage.name, outcome.plan)
        if as_json:
            _print_json(dict(outcome.plan.lines))
    elif outcome.record is not None:
        terminal.finished(outcome.record, str(out), outcome.up_to_date)
        _print_result(out, as_json)


def _print_result(out: Path | None, as_json: bool) -> None:
    """The run record, or the folder's path."""
    if as_json:
        import orjson

        _print_json(orjson.loads((out / "run.json").read_bytes()) if out else {})
    else:
        sys.stdout.write(f"{out}\n")


def _arguments(stage: Stage, positional: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    arguments: dict[str, tuple[str, ...]] = {}
    for argument in stage.arguments:
        value = positional[argument.name]
        values = tuple(value) if isinstance(value, list) else (value,) if value else ()
        if not values and not argument.optional:
            shape = " ".join(item.metavar for item in stage.arguments)
            ending = "" if stage is GENERATE else " -o DIR"
            raise UsageError(
                f"missing {argument.metavar}: {argument.help}", remedy=f"ptft {stage.name} {shape}{ending}"
            )
        arguments[argument.name] = values
    return arguments


def _print_knobs(stage: Stage) -> None:
    for leaf in recipes.knobs(stage.recipe):
        sys.stdout.write(f"{leaf.name} = {_default(leaf.default)}\n    {leaf.help}\n")


def _print_json(value: Any) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def _prepare(arguments: dict[str, tuple[str, ...]], flags: dict[str, Any]) -> None:
    """The network stays off unless the user names something on it; the libraries stay quiet."""
    named = [value for values in arguments.values() for value in values] + [
        value for value in flags.values() if isinstance(value, str)
    ]
    if not any(value.startswith("hf:") for value in named):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning)  # the libraries' to each other, not the user's to mend
    for name in (
        "torchao",
        "torch.utils._pytree",
        "bitsandbytes",
    ):  # they warn, on import, of GPU kernels that a CPU does not have
        logging.getLogger(name).setLevel(logging.ERROR)


# ---------------------------------------------------------------- the commands

app.add_typer(finetune, name="finetune")
_ALL = ("out", *(name for name, *_ in COMMON))
for _stage in STAGES:
    _group, _name = (finetune, _stage.name.split()[1]) if " " in _stage.name else (app, _stage.name)
    _group.command(_name)(_command(_stage, _run_stage, _ALL))


def _run_generate(
    stage: Stage, positional: dict[str, Any], flags: dict[str, Any], *, recipe_file: Path | None, sets: list[str],
    list_knobs: bool, debug: bool,
) -> None:  # fmt: skip
    if list_knobs:
        _print_knobs(stage)
        return
    recipe = recipes.resolve(stage.recipe, stage.name, file=recipe_file, flags=flags, sets=sets)
    arguments = _arguments(stage, positional)
    _prepare(arguments, flags)
    prompt = (arguments["prompt"] or (None,))[0]
    if prompt is None and sys.stdin is not None and not sys.stdin.isatty():
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    for piece in stage.load().generate(recipe, arguments["model"][0], prompt or ""):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


app.command("generate")(_command(GENERATE, _run_generate, ("recipe_file", "sets", "list_knobs", "debug")))


@app.command()
def show(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="any folder; several are lined up")],
    text: Annotated[str | None, typer.Option(metavar="FILE", help="what tokenizers are compared on")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the run record on standard output")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """Say what a folder is, where it came from, and how it went."""
    from ptft.stages.show.run import described
    from ptft.ui import Terminal

    tables, facts = described(folders, text)
    if as_json:
        _print_json(facts)
        return
    terminal = Terminal()
    for table in tables:
        terminal.table(table)


# ---------------------------------------------------------------- the one catch


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code (see docs: 0, 1, 2, 3, 4, 5, 130)."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _refuse_not_utf8(argv)
        if app(list(argv), prog_name="ptft", standalone_mode=False) == Interrupted.exit_code:
            return _report(Interrupted(), argv)  # typer turns Ctrl-C into an exit code
    except ClickError as error:
        return _report_usage(error, argv)
    except PtftError as error:
        return _report(error, argv)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(Interrupted(), argv, cause=error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is silent
        return 0
    except OSError as error:
        return _report(from_os_error(error), argv, cause=error)
    except SystemExit as error:  # click ends so where nobody reads standard output any more; the work is done
        return 0 if error.code == 1 else int(error.code or 0)
    except Exception as error:
        return _report_other(error, argv)
    return 0


def _refuse_not_utf8(argv: Sequence[str]) -> None:
    """Such a name could be opened, but neither recorded nor printed."""
    for argument in argv:
        if any("\udc80" <= char <= "\udcff" for char in argument):
            shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            remedy = "rename the file, or run in a UTF-8 locale (LC_ALL=C.UTF-8)"
            raise UsageError(f"an argument is not UTF-8: {shown}", remedy=remedy)


def _report_usage(error: Any, argv: Sequence[str]) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")
        return UsageError.exit_code
    command = error.ctx.command_path if getattr(error, "ctx", None) else "ptft"
    return _report(UsageError(error.format_message(), remedy=f"`{command} --help`"), argv)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _report_other(error: Exception, argv: Sequence[str]) -> int:
    """Out of memory on a device is the run's failure; everything else here is a bug of ours."""
    from ptft.core.errors import RunError
    from ptft.ui import Terminal

    if type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate memory" in str(error):
        remedy = "lower the batch (--set batch_size=...), or --seq-len, or the model"
        return _report(RunError("out of memory on the device", remedy=remedy), argv, cause=error)
    if any(sign in str(error) for sign in ("No space left", "os error 28", "PytorchStreamWriter", "inline_container")):
        return _report(
            from_os_error(OSError(errno.ENOSPC, "")), argv, cause=error
        )  # torch and safetensors hide the errno
    if "--debug" in argv:
        raise error
    Terminal().bug(error)
    return 1


def _report(error: PtftError, argv: Sequence[str], cause: BaseException | None = None) -> int:
    from ptft.ui import Terminal

    if "--debug" in argv:
        import traceback

        traceback.print_exception(cause or error)
    Terminal().error(error)
    return error.exit_code
