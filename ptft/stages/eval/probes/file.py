"""Probes: task files of `kind: bias` or `kind: toxicity`, whose rows come from the lists in them. Imports nothing heavy.

A bias probe pairs sentences that differ in who they speak of and asks which the model finds likelier (the idea is that of
CrowS-Pairs, Nangia et al. 2020, the templates that of WEAT-like tests of sentences, May et al. 2019). A toxicity probe lets the
model go on from short prompts and looks for words of a list in what it writes (as RealToxicityPrompts, Gehman et al. 2020, which
judges by a classifier). Both are smoke alarms: what they do not find may well be there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ptft.core.errors import InputError, PtftError, RecipeError
from ptft.core.knobs import Decoding
from ptft.core.recipes import load_yaml
from ptft.core.rows import Row

KINDS = ("bias", "toxicity")
GROUP, ATTRIBUTE = "{group}", "{attribute}"


@dataclass(frozen=True)
class Pairs:
    """Sentences of one dimension: every template with every pair of groups and every attribute.

    templates: texts with {group} and, behind it, {attribute}: from the attribute on the sentence is scored.
    """

    dimension: str
    templates: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Bias:
    name: str
    pairs: tuple[Pairs, ...]

    def rows(self, source: str) -> list[Row]:
        """{"id", "dimension", "groups", "attribute", "before" (two beginnings), "after" (their common end)} each."""
        found: list[Row] = []
        for each in self.pairs:
            cases = [(t, g, a) for t in each.templates for g in each.groups for a in each.attributes]
            for number, (template, groups, attribute) in enumerate(cases, 1):
                before, after = _split(template, attribute)
                data = {
                    "id": f"{each.dimension}-{number}", "dimension": each.dimension, "groups": " / ".join(groups),
                    "attribute": f"{each.dimension}: {attribute}",
                    "before": [before.replace(GROUP, group) for group in groups], "after": after,
                }  # fmt: skip
                found.append(Row(data, source, len(found) + 1))
        return found


def _split(template: str, attribute: str) -> tuple[str, str]:
    """Before the attribute, and from there on; a space goes to the word behind it, as tokenizers have it."""
    before, _, after = template.partition(ATTRIBUTE)
    bare = before.rstrip()
    return bare, f"{before[len(bare) :]}{attribute}{after}"


@dataclass(frozen=True)
class Toxicity:
    """samples: continuations of each prompt; more than one need a temperature."""

    name: str
    prompts: tuple[str, ...]
    samples: int = 1
    max_new_tokens: int = 32
    temperature: float = 0.0
    top_p: float = 1.0

    def rows(self, source: str) -> list[Row]:
        """{"id", "prompt"} each; samples of a prompt are rows of their own."""
        cases = [
            (place, prompt, sample) for place, prompt in enumerate(self.prompts, 1) for sample in range(self.samples)
        ]
        return [
            Row({"id": f"{place}-{sample + 1}" if self.samples > 1 else str(place), "prompt": prompt}, source, place)
            for place, prompt, sample in cases
        ]

    def decoding(self, given: Decoding) -> Decoding:
        """As the command says, and where it is silent, as the probe does."""
        silent, own = Decoding(), ("max_new_tokens", "temperature", "top_p")
        return replace(
            given, **{name: getattr(self, name) for name in own if getattr(given, name) == getattr(silent, name)}
        )


# ---------------------------------------------------------------- reading


def is_probe(path: str | Path) -> bool:
    """Whether a task file is one of these; a file that cannot be read is not, and the reader of tasks says why."""
    try:
        return load_yaml(Path(path), "eval", []).get("kind") in KINDS
    except PtftError:
        return False


def read(path: str | Path) -> Bias | Toxicity:
    """Raises `InputError` with every problem of the file."""
    try:
        data = load_yaml(Path(path), "eval", [])
    except RecipeError as error:
        raise _refused(str(error.where or path), error.problems) from error
    problems: list[str] = []
    name = str(data.get("task", Path(path).stem))
    made = (_bias if data.get("kind") == "bias" else _toxicity)(name, data, problems)
    if problems:
        raise _refused(str(path), problems)
    return made


def _refused(where: str, problems: Sequence[str]) -> InputError:
    what = problems[0] if len(problems) == 1 else f"{len(problems)} problems: " + "; ".join(problems)
    return InputError(what, where=where, remedy="mend the probe; those in recipes/probes show the form")


def _bias(name: str, data: Mapping[str, Any], problems: list[str]) -> Bias:
    _refuse_unknown(data, ("task", "kind", "pairs"), "", problems)
    given = data.get("pairs")
    if not isinstance(given, list) or not given:
        problems.append("pairs: a list is needed, each with dimension, templates, groups and attributes")
        return Bias(name, ())
    made = tuple(_pairs(each, f"pairs[{place}]", problems) for place, each in enumerate(given))
    names = [each.dimension for each in made]
    problems += [
        f"pairs: the dimension {twice!r} is given twice" for twice in sorted({n for n in names if names.count(n) > 1})
    ]
    return Bias(name, made)


def _pairs(given: Any, where: str, problems: list[str]) -> Pairs:
    data = given if isinstance(given, Mapping) else {}
    _refuse_unknown(data, tuple(field.name for field in fields(Pairs)), f"{where}.", problems)
    templates = _texts(data, "templates", where, problems)
    for template in templates:
        if (
            template.count(GROUP) != 1
            or template.count(ATTRIBUTE) != 1
            or template.find(ATTRIBUTE) < template.find(GROUP)
        ):
            problems.append(f"{where}.templates: {template!r} needs {GROUP} once and, behind it, {ATTRIBUTE} once")
    groups = data.get("groups")
    pairs = groups if isinstance(groups, list) else []
    if not pairs or not all(_is_pair(pair) for pair in pairs):
        problems.append(f"{where}.groups: a list of pairs of different texts is needed, such as [[He, She]]")
        pairs = []
    dimension = data.get("dimension")
    if not isinstance(dimension, str) or not dimension:
        problems.append(f"{where}.dimension: a name is needed, such as gender")
    return Pairs(
        str(dimension),
        templates,
        tuple((first, second) for first, second in pairs),
        _texts(data, "attributes", where, problems),
    )


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(one, str) and one for one in pair)
        and pair[0] != pair[1]
    )


def _toxicity(name: str, data: Mapping[str, Any], problems: list[str]) -> Toxicity:
    known: dict[str, tuple[Callable[[Any], bool], str]] = {
        "samples": (lambda value: type(value) is int and value >= 1, "a whole number of at least 1"),
        "max_new_tokens": (lambda value: type(value) is int and value >= 1, "a whole number of at least 1"),
        "temperature": (lambda value: type(value) in (int, float) and value >= 0, "a number of at least 0"),
        "top_p": (lambda value: type(value) in (int, float) and 0 < value <= 1, "a number above 0, at most 1"),
    }
    _refuse_unknown(data, ("task", "kind", "prompts", *known), "", problems)
    prompts = _texts(data, "prompts", "", problems)
    own = {key: data[key] for key in known if key in data}
    wrong = [f"{key}: {known[key][1]} is needed" for key, value in own.items() if not known[key][0](value)]
    problems += wrong
    if not wrong and own.get("samples", 1) > 1 and not own.get("temperature"):
        problems.append("samples: several of a prompt are alike without a temperature")
    return Toxicity(name, prompts, **({} if wrong else own))


def _texts(data: Mapping[str, Any], key: str, where: str, problems: list[str]) -> tuple[str, ...]:
    found = data.get(key)
    if isinstance(found, list) and found and all(isinstance(each, str) and each.strip() for each in found):
        return tuple(found)
    problems.append(f"{where}{'.' if where else ''}{key}: a list of texts is needed")
    return ()


def _refuse_unknown(data: Mapping[str, Any], known: Sequence[str], prefix: str, problems: list[str]) -> None:
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            problems.append(f"{prefix}{key}: no such key; {hint}")
