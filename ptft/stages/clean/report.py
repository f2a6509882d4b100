"""The funnel as one HTML page: what is left after each step, by language, and samples of what each rule dropped.

Everything is inside the page, and nothing in it depends on the time or the machine: the same run makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ptft.core import recipes
from ptft.stages.clean.funnel import Amount, Funnel, Sample
from ptft.stages.clean.recipe import CleanRecipe

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #4a7bd0; --gone: #d0764a; }
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; } td.bar { width: 34%; }
.bar div { display: flex; height: .9rem; } .bar i { background: var(--bar); } .bar b { background: var(--gone); }
.figures { display: flex; flex-wrap: wrap; gap: 2rem; margin: 1rem 0; } .figures div { font-size: .85rem; opacity: .8; }
.figures strong { display: block; font-size: 1.5rem; opacity: 1; }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; } summary { cursor: pointer; }
summary span { float: right; } blockquote { margin: .6rem 0 .6rem 1rem; padding-left: .8rem; border-left: 3px solid var(--line); }
blockquote p { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; } small { opacity: .75; } code { font-size: .9em; }
"""


def write(path: Path, recipe: CleanRecipe, funnel: Funnel) -> None:
    path.write_text(page(recipe, funnel), encoding="utf-8", errors="replace")


def page(recipe: CleanRecipe, funnel: Funnel) -> str:
    read, kept = funnel.total(), funnel.total("")
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>ptft clean</title><style>{_STYLE}</style></head><body>',
        f"<h1>ptft clean: {kept.documents:,} of {read.documents:,} documents kept</h1>",
        _figures(funnel, read, kept),
        "<h2>What is left after each step</h2>",
        _steps(funnel),
        "<h2>By language</h2>",
        _languages(funnel),
        *(["<h2>Edits</h2>", _edits(funnel)] if any(funnel.edits.values()) else []),
        *(["<h2>What each rule dropped</h2>", _rules(funnel)] if funnel.rules() else []),
        "<h2>Settings</h2>",
        _settings(recipe),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _figures(funnel: Funnel, read: Amount, kept: Amount) -> str:
    figures = (
        ("documents kept", f"{kept.documents:,}", _share(kept.documents, read.documents)),
        ("bytes kept", f"{kept.bytes:,}", f"{_share(kept.bytes, funnel.read_bytes)} of those read"),
        ("tokens kept", f"{kept.tokens:,}", "words, and Han characters"),
        ("rows rejected", f"{funnel.rejected:,}", "not readable: rejected.jsonl"),
    )
    return (
        '<div class="figures">'
        + "".join(f"<div><strong>{n}</strong>{a}<br>{b}</div>" for a, n, b in figures)
        + "</div>"
    )


def _steps(funnel: Funnel) -> str:
    whole = max(1, funnel.total().documents)
    rows = (
        (
            escape(name.replace("_", " ")), _bar(left.documents / whole, gone.documents / whole), f"{left.documents:,}", f"{left.bytes:,}",
            f"{left.tokens:,}", f"{gone.documents:,}", _share(gone.documents, whole),
        )
        for name, gone, left in funnel.steps()
    )  # fmt: skip
    return _table(("step", "", "documents", "bytes", "tokens", "dropped", "share"), rows)


def _bar(left: float, gone: float) -> str:
    return f'<div><i style="width:{left:.2%}"></i><b style="width:{gone:.2%}"></b></div>'


def _languages(funnel: Funnel) -> str:
    rows = []
    for lang in funnel.languages():
        read, kept = funnel.total(language=lang), funnel.total("", lang)
        bar = _bar(kept.documents / max(1, read.documents), 1 - kept.documents / max(1, read.documents))
        rows.append(
            (escape(lang), bar, f"{read.documents:,}", f"{kept.documents:,}", f"{kept.bytes:,}", f"{kept.tokens:,}")
        )
    return _table(("language", "", "read", "kept", "bytes kept", "tokens kept"), rows)


def _edits(funnel: Funnel) -> str:
    rows = ((escape(name.replace("_", " ")), f"{count:,}") for name, count in sorted(funnel.edits.items()) if count)
    return _table(("what", "times"), rows)


def _rules(funnel: Funnel) -> str:
    whole = funnel.total().documents
    blocks = []
    for rule in funnel.rules():
        gone = funnel.total(rule)
        by_language = ", ".join(
            f"{lang} {funnel.total(rule, lang).documents:,}"
            for lang in funnel.languages()
            if funnel.total(rule, lang).documents
        )
        head = f"<summary><code>{escape(rule)}</code> <small>{by_language}</small><span>{gone.documents:,} ({_share(gone.documents, whole)})</span></summary>"
        blocks.append(f"<details>{head}{''.join(map(_sample, funnel.samples.get(rule, [])))}</details>")
    return "\n".join(blocks)


def _sample(sample: Sample) -> str:
    why = "; ".join(f"{reason['rule']} {reason['value']} (limit {reason['limit']})" for reason in sample.reasons)
    like = f", like {sample.duplicate_of}" if sample.duplicate_of else ""
    return f"<blockquote><small>{escape(sample.id)} · {escape(sample.language)} · {escape(why + like)}</small><p>{escape(sample.text)}</p></blockquote>"


def _settings(recipe: CleanRecipe) -> str:
    default = {leaf.name: leaf.default for leaf in recipes.knobs(CleanRecipe)}
    flat = recipes.flat(recipes.identity_of(recipe))
    changed = [
        (name, value) for name, value in flat.items() if name in default and value != recipes.plain(default[name])
    ]
    if not changed:
        return "<p>All knobs are at their defaults.</p>"
    return _table(("knob", "value"), ((escape(name), escape(str(value))) for name, value in changed))


def _share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    bar = head.index("") if "" in head else -1
    body = "\n".join(
        "<tr>"
        + "".join(f'<td class="bar">{cell}</td>' if n == bar else f"<td>{cell}</td>" for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table>"
