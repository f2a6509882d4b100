"""What issue 7 aims for, beside what the table of the causal model has."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tools import table

from exporting.causal import Entry, base_of
from exporting.measuring import Quality, ratio

INT8_LOSS, INT4_LOSS = 1.005, 1.03  # perplexity over the original's
INT8_SPEED, INT4_SPEED = 3.0, 4.0  # times torch fp32
SIZE = 0.05  # share by which a file may differ from bits x weights and what the format adds to them
Line = tuple[str, str, str]


def show(entries: Sequence[Entry]) -> None:
    lines = [line for find in (losses, calibration, peers, sizes, speeds, slower) for line in find(entries)]
    if lines:
        table("What was aimed for", ("aim", "measured", "met"), lines)


def losses(entries: Sequence[Entry]) -> list[Line]:
    original, found = entries[0].quality, []
    int8 = [entry for entry in _ours(entries, "int8") if "static" not in entry.row.scheme]
    for what, limit, rows, pick in (
        ("INT8, the worst without static ranges", INT8_LOSS, int8, max),
        ("INT4 in groups of 32, the best calibrated", INT4_LOSS, _calibrated(entries), min),
    ):
        if rows and original is not None:
            worst = pick(rows, key=lambda entry: ratio(_quality(entry), original)[0])
            value, error = ratio(_quality(worst), original)
            aim = f"{what}: perplexity within {limit - 1:.1%}"
            found.append((aim, f"{value:.4f} ± {error:.4f}, {worst.row.name}", _yes(value <= limit)))
    return found


def calibration(entries: Sequence[Entry]) -> list[Line]:
    """GPTQ beside round-to-nearest in the same format and groups."""
    found = []
    for entry in _calibrated(entries):
        plain = f"ptft {entry.row.format} int4-rtn-g32"
        for other in entries:
            if other.row.name == plain and other.quality is not None:
                found.append(_beside(f"{entry.row.name} better than {other.row.scheme}", entry, other))
    return found


def peers(entries: Sequence[Entry]) -> list[Line]:
    """ptft's GPTQ beside llm-compressor's, both as compressed-tensors, the same layers quantised from the same rows."""
    found = []
    for entry in entries:
        scheme = entry.row.name.removeprefix("llm-compressor ")
        for ours in entries:
            same = ours.row.name == f"ptft compressed-tensors {scheme}" and "gptq" in scheme
            if same and ours.quality is not None and entry.quality is not None:
                found.append(_beside(f"{ours.row.name} at least as good as llm-compressor's", ours, entry))
    return found


def _beside(aim: str, one: Entry, other: Entry) -> Line:
    """Both perplexity, with the paired interval, and divergence, which tells apart what perplexity cannot."""
    value, error = ratio(_quality(one), _quality(other))
    kl = _quality(one).divergence, _quality(other).divergence
    met = "no difference" if abs(value - 1) <= error else _yes(value < 1)
    said = f"perplexity {value:.4f} ± {error:.4f} of the other's, KL {kl[0]:.2g} beside {kl[1]:.2g}"
    return aim, said, f"perplexity: {met}; KL: {_yes(kl[0] < kl[1])}"


def sizes(entries: Sequence[Entry]) -> list[Line]:
    """The file beside what ptft says to expect of it, the tokenizer and the graph inside it counted too."""
    found = {entry.row.name: _beyond(entry) for entry in entries if entry.row.format and entry.path is not None}
    if not found:
        return []
    worst = max(found, key=lambda name: abs(found[name]))
    aim = f"sizes within {SIZE:.0%} of bits x weights + stated overheads"
    return [(aim, f"{found[worst]:+.1%} at most, {worst}", _yes(abs(found[worst]) <= SIZE))]


def _beyond(entry: Entry) -> float:
    assert entry.path is not None
    said = json.loads((entry.path / "export.json").read_text(encoding="utf-8"))["bytes"]["expected"]["total"]
    return entry.size / said - 1


def speeds(entries: Sequence[Entry]) -> list[Line]:
    steps, generate = base_of(entries, "torch"), base_of(entries, "generate")
    found = []
    for kind, aim in (("int8", INT8_SPEED), ("int4", INT4_SPEED)):
        rows = [entry for entry in _ours(entries, kind) if entry.speeds]
        if steps is None or not rows:
            continue
        best = max(rows, key=lambda entry: entry.speed.speed[1])
        over = [best.speed.speed[1] / base.speed[1] for base in (steps, generate) if base is not None]
        said = f"{over[0]:.2f}x bare steps" + (f", {over[1]:.2f}x generate()" if len(over) == 2 else "")
        met = "; ".join(f"{name}: {_yes(one >= aim)}" for name, one in zip(("steps", "generate()"), over, strict=False))
        found.append((f"{kind.upper()} {aim:.0f}x torch fp32 in generation", f"{said}, {best.row.name}", met))
    return found


def slower(entries: Sequence[Entry]) -> list[Line]:
    base = base_of(entries, "torch")
    if base is None or not any(entry.speeds and entry.row.scheme for entry in entries):
        return []
    names = [
        f"{entry.row.name} ({entry.speed.speed[1] / base.speed[1]:.2f}x)"
        for entry in entries
        if entry.speeds and entry.row.scheme and entry.speed.speed[1] < base.speed[1]
    ]
    return [("slower than torch fp32, one text", ", ".join(names) or "none", "")]


def _ours(entries: Sequence[Entry], precision: str) -> list[Entry]:
    """ptft's rows of int8 or int4 that were measured."""
    return [entry for entry in entries if entry.row.scheme.split("-")[0] == precision and entry.quality is not None]


def _calibrated(entries: Sequence[Entry]) -> list[Entry]:
    words = [set(entry.row.scheme.split("-")) for entry in entries]
    ours = [
        entry for entry, said in zip(entries, words, strict=True) if {"int4", "g32"} <= said and said & {"gptq", "awq"}
    ]
    return [entry for entry in ours if entry.quality is not None]


def _quality(entry: Entry) -> Quality:
    assert entry.quality is not None
    return entry.quality


def _yes(met: bool) -> str:
    return "yes" if met else "no"
