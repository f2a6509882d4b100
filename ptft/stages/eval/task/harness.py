"""Task files of lm-evaluation-harness (0.4), read as they are where their data is local.

Its conventions hold for them; where one is not ours it is named in `Task.notes`. What cannot be run (Python beside the file,
groups of tasks) is refused in words; rows of a hub's data set are those of DATA on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.core.metrics import names
from ptft.stages.eval.task.loading import Function, load
from ptft.stages.eval.task.model import Drawn, Task, TaskKind
from ptft.stages.eval.task.template import Field, problem_of

TELLING = ("dataset_path", "doc_to_text", "doc_to_target", "output_type", "test_split", "group", "dataset_kwargs")
BUILDERS = {"json": "json", "csv": "csv", "parquet": "parquet"}
KINDS: dict[str, TaskKind] = {
    "multiple_choice": "choices", "loglikelihood_rolling": "likelihood", "generate_until": "generate", "loglikelihood": "target",
}  # fmt: skip
USUAL = {
    "choices": ("acc", "acc_norm"), "likelihood": ("bits_per_byte",), "generate": ("exact_match",), "target": ("acc",),
}  # fmt: skip
FITS = {
    "choices": {"acc", "acc_norm", "mcc"}, "likelihood": {"bits_per_byte"}, "generate": {"exact_match", *names.TEXTS},
    "target": {"acc", "perplexity"},
}  # fmt: skip
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
DEFAULT_LENGTH = 256
# changes of a row, of an answer, or of what the model reads, that we do not make
REFUSED = (
    "process_docs",
    "process_results",
    "custom_dataset",
    "use_prompt",
    "doc_to_image",
    "doc_to_audio",
    "gen_prefix",
    "group",
    "task_list",
)
IGNORED_FILTERS = ("take_first", "remove_whitespace")


def is_harness(raw: Mapping[str, Any]) -> bool:
    return any(key in raw for key in TELLING) or isinstance(raw.get("task"), list) or "include" in raw


def merged(file: Path, raw: Mapping[str, Any], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's keys over those of the files it includes."""
    included = raw.get("include", [])
    found: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        other = file.parent / name
        if other.resolve() not in seen:
            found |= merged(other, load(other), (*seen, file.resolve(), other.resolve()))
    return found | {key: value for key, value in raw.items() if key != "include"}


def task_from(raw: Mapping[str, Any], file: Path, problems: list[str]) -> Task | None:
    """Adds what cannot be run to `problems`, each with its key."""
    notes: list[str] = []
    kind = KINDS.get(str(raw.get("output_type", "generate_until")))
    if kind is None:
        problems.append(f"output_type: {raw['output_type']!r} is not one of {', '.join(KINDS)}")
    problems += _refused(raw)
    files = _data_files(raw, file, notes, problems)
    tested = raw.get("test_split") or raw.get("validation_split")
    if not tested:
        problems.append("test_split: the task names no rows to evaluate (test_split or validation_split)")
    elif files and tested not in files:
        problems.append(f"test_split: no split {tested!r}; data_files has {', '.join(files)}")
    shots = _shots(raw, files, str(tested), problems)
    problems += [
        f"{key}: {found}"
        for key in ("doc_to_text", "doc_to_target", "doc_to_choice", "description")
        if (found := problem_of(raw.get(key)))
    ]
    if kind == "choices" and raw.get("doc_to_choice") is None:
        problems.append("doc_to_choice: multiple_choice needs it")
    if problems or kind is None:
        return None
    return Task(
        name=str(raw.get("task") or file.stem), kind=kind, question=Field(raw.get("doc_to_text") or "", constant=True),
        answer=Field(raw.get("doc_to_target"), constant=True), choices=_choices(raw),
        description=Field(raw.get("description") or "", constant=True), separator=raw.get("target_delimiter", " "),
        shots_separator=raw.get("fewshot_delimiter", "\n\n"), data=files.get(str(tested), ()),
        metrics=_metrics(raw, kind, notes), harness=True, **shots, **_written(raw, kind, notes, problems), notes=tuple(notes),
    )  # fmt: skip


def _choices(raw: Mapping[str, Any]) -> Field | None:
    found = raw.get("doc_to_choice")
    return None if found is None else Field(list(found.values()) if isinstance(found, Mapping) else found)


def _refused(raw: Mapping[str, Any]) -> list[str]:
    found = [f"{key}: ptft does not do this" for key in REFUSED if raw.get(key)]
    found += [
        f"{key}: Python code (!function {value.name}) is not run"
        for key, value in _flat(raw)
        if isinstance(value, Function)
    ]
    if isinstance(raw.get("task"), list):
        found.append("task: a group of tasks; name one task's file")
    if raw.get("repeats", 1) != 1:
        found.append("repeats: only 1 answer a question")
    return found


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [item for key, inner in value.items() for item in _flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [item for inner in value for item in _flat(inner, name)]
    return [(name, value)]


# ---------------------------------------------------------------- data


def _data_files(
    raw: Mapping[str, Any], file: Path, notes: list[str], problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Files by split; of a bare list all are "train". None where they are not local: DATA on the command line is evaluated."""
    builder, files = str(raw.get("dataset_path", "")), (raw.get("dataset_kwargs") or {}).get("data_files")
    if builder == "text":
        problems.append('dataset_path: text; make it JSONL, a {"text": ...} for each line')
    elif builder in BUILDERS and not files:
        problems.append("dataset_kwargs.data_files: missing; name the local files, by split")
    elif builder not in BUILDERS:
        notes.append(f"the task's own rows, {builder or 'of a script'}, are not local: those of DATA were evaluated")
    if builder not in BUILDERS or not files:
        return {}
    by_split = files if isinstance(files, Mapping) else {"train": files}
    return {
        str(split): tuple(_found(file, str(path)) for path in ([paths] if isinstance(paths, str) else paths))
        for split, paths in by_split.items()
    }


def _found(file: Path, path: str) -> str:
    """Relative to the task file; the harness takes it relative to where it is run, which is tried next."""
    beside = file.parent / path
    return str(beside) if beside.exists() or not Path(path).exists() else path


def _shots(
    raw: Mapping[str, Any], files: Mapping[str, tuple[str, ...]], tested: str, problems: list[str]
) -> dict[str, Any]:
    """Where solved examples come from, and which: the harness's rules."""
    settings = raw.get("fewshot_config") or {}
    sampler = str(settings.get("sampler", "default"))
    drawn: dict[str, Drawn] = {"default": "sequence", "first_n": "first"}
    known = {"sampler", "split", "samples", "fewshot_indices"}
    problems += [f"fewshot_config.{key}: ptft does not do this" for key in settings if key not in known]
    if sampler not in drawn:
        problems.append(f"fewshot_config.sampler: {sampler!r} is not default or first_n")
    named = settings.get("split", raw.get("fewshot_split"))
    samples = None if named or isinstance(settings.get("samples"), Function) else settings.get("samples")
    pool = named or raw.get("training_split") or raw.get("validation_split") or raw.get("test_split")
    count = int(raw.get("num_fewshot") or 0)
    if count and not samples and files and pool not in files:
        problems.append(f"fewshot_split: no split {pool!r}; data_files has {', '.join(files)}")
    are_data = pool == tested and not samples
    return {
        "shots": count, "drawn": drawn.get(sampler, "sequence"), "excluded": named == raw.get("test_split"),
        "shots_are_data": are_data, "shots_given": tuple(samples or ()),
        "shots_files": () if are_data or samples else files.get(str(pool), ()),
    }  # fmt: skip


# ---------------------------------------------------------------- scores, answers


def _metrics(raw: Mapping[str, Any], kind: TaskKind, notes: list[str]) -> tuple[str, ...]:
    asked = [str(item.get("metric") if isinstance(item, Mapping) else item) for item in raw.get("metric_list") or ()]
    if left := [name for name in asked if name not in FITS[kind]]:
        notes.append(f"metrics of the task that ptft does not compute in this way: {', '.join(left)}")
    if "exact_match" in asked and kind == "generate":
        notes.append("exact_match is SQuAD's, which passes over case, articles and punctuation")
    found = tuple(name for name in asked if name in FITS[kind]) or USUAL[kind]
    if kind == "target" and "acc" in found and len(found) > 1:  # two kinds of prediction rows
        notes.append("perplexity is left out beside acc: name it alone in metric_list to have it")
        return ("acc",)
    return found


def _written(raw: Mapping[str, Any], kind: TaskKind, notes: list[str], problems: list[str]) -> dict[str, Any]:
    """How answers are written, and what is cut off them."""
    filters = [step.get("function") for item in raw.get("filter_list") or () for step in item.get("filter", ())]
    if kind != "generate":
        return {}
    if odd := [str(name) for name in filters if name not in IGNORED_FILTERS]:
        notes.append(f"filter_list: {', '.join(odd)} is not done: answers are scored as they are written")
    settings = raw.get("generation_kwargs") or {}
    until = settings.get("until", raw.get("fewshot_delimiter", "\n\n"))
    sampled = settings.get("do_sample", float(settings.get("temperature") or 0) > 0)
    length = next((int(settings[name]) for name in LENGTHS if name in settings), DEFAULT_LENGTH)
    if other := set(settings) - {"until", "do_sample", "temperature", *LENGTHS}:
        notes.append(f"generation_kwargs: {', '.join(sorted(other))} is not taken over; see --set decoding")
    return {
        "stop": tuple(filter(None, [until] if isinstance(until, str) else until)), "max_new_tokens": length,
        "temperature": float(settings.get("temperature") or 1.0) if sampled else 0.0,
        "trims": "remove_whitespace" in filters,
    }  # fmt: skip
