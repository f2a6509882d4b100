"""One row of predictions as HTML: its input, what was right, what was said, and where the two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.core.metrics.kinds import listed
from ptft.core.progress import Piece
from ptft.stages.eval.page.differences import closest, differing, divided
from ptft.stages.eval.page.figures import flat, number
from ptft.stages.eval.page.markup import Html, data, details, joined, language, name, short, tag

Row = Mapping[str, Any]
VISIBLE, MOST = 320, 3000  # characters of a text that are seen at once, and that are in the page at all
ITEMS = 12  # of a list that are shown
NAMED = 60  # characters of a choice beside its likelihood
TAGGED = ("tags", "plain-tags")  # their words are shown with their tags


def row(item: Row, kind: str, said: str) -> Html:
    head = tag("h3", name(str(item.get("id", ""))), *([" ", tag("small", said)] if said else []))
    parts = [*([] if kind in TAGGED else inputs(item)), *_KINDS.get(kind, _texts)(item), *_by(item)]
    return tag("article", head, tag("dl", joined(parts)))


def entry(term: str, *value: str) -> Html:
    return joined([tag("dt", term), tag("dd", *value)])


# ---------------------------------------------------------------- texts


def text(value: str) -> Html:
    return pieces([Piece(value, False)], "mark")


def pieces(parts: Sequence[Piece], mark: str) -> Html:
    """A text whose marked parts are elements `mark`; what is long is behind "more", what is very long is not here."""
    whole = "".join(part.text for part in parts)
    if not whole:
        return tag("em", "(empty)")
    held, _ = divided(parts, MOST)
    seen = _end(whole)
    first, rest = divided(held, seen)
    attributes = {"lang": language(whole), "dir": "auto", "class_": "text"}
    shown = tag("p", *(_piece(part, mark) for part in first), **attributes)
    if not rest:
        return shown
    lost = len(whole) - MOST
    end = [tag("p", tag("small", f"{lost:,} more characters are in predictions.jsonl"))] if lost > 0 else []
    more = tag("p", *(_piece(part, mark) for part in rest), **attributes)
    return joined([shown, details(f"more ({len(whole) - seen:,} characters)", more, *end)])


def _end(whole: str) -> int:
    """How many characters are seen at once: all where only a few words are more; else up to a word's end, if there are words."""
    if len(whole) <= VISIBLE + 80:
        return len(whole)
    return 1 + whole.rfind(" ", VISIBLE - 24, VISIBLE) or VISIBLE


def _piece(part: Piece, mark: str) -> str:
    return tag(mark, part.text) if part.marked else part.text


def inputs(item: Row) -> list[Html]:
    """The input's parts by name: a text, several, a conversation, or words."""
    return [entry(term, text(value)) for term, value in parts_of(item.get("input"))]


def parts_of(value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [("input", value)]
    if isinstance(value, Mapping):
        return [
            (short(str(key), 60), item if isinstance(item, str) else flat(item, MOST))
            for key, item in list(value.items())[:ITEMS]
        ]
    if isinstance(value, list) and all(isinstance(item, Mapping) and "content" in item for item in value):
        return [(short(str(item.get("role", "message")), 60), str(item["content"])) for item in value[:ITEMS]]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [(f"input {place}", item) for place, item in enumerate(value[:ITEMS], 1)]
    return [("input", flat(value, MOST))]


def compared(references: Sequence[str], prediction: str) -> list[Html]:
    """The prediction beside the reference that is most like it; `del` and `ins` mark where they differ."""
    if not references:
        return [entry("reference", tag("em", "(none)")), entry("prediction", text(prediction))]
    chosen = closest(references, prediction)
    wanted, made = differing(chosen, prediction)
    others = len(references) - 1
    term = f"reference (the closest of {others + 1:,})" if others else "reference"
    return [entry(term, pieces(wanted, "del")), entry("prediction", pieces(made, "ins"))]


def _texts(item: Row) -> list[Html]:
    if "prediction" not in item:
        return [entry("reference", text(str(item["reference"])))] if item.get("reference") else []
    made = item["prediction"]
    if "reference" not in item:
        return [entry("prediction", text(str(made)))]
    return compared(listed(item["reference"]), made if isinstance(made, str) else flat(made, MOST))


def _language(item: Row) -> list[Html]:
    sizes = (f"{item[key]:,} {key}" for key in ("tokens", "bytes") if isinstance(item.get(key), int))
    return [
        *([entry("text", text(str(item["text"])))] if item.get("text") else []),
        entry("size", ", ".join(sizes) or "-"),
    ]


# ---------------------------------------------------------------- labels, numbers, tags


def _labels(item: Row) -> list[Html]:
    parts = [
        entry("reference", name(str(item.get("reference")))),
        entry("prediction", name(str(item.get("prediction")))),
    ]
    chances = item.get("probabilities")
    if isinstance(chances, Mapping) and chances:
        likeliest = sorted(chances.items(), key=lambda pair: -(number(pair[1]) or 0.0))[:5]
        shown = joined(
            (joined([name(str(label)), f" {number(chance) or 0:.3f}"]) for label, chance in likeliest), " · "
        )
        parts.append(entry("probabilities", shown))
    return parts


def _choices(item: Row) -> list[Html]:
    likelihoods = item.get("loglikelihoods") or ()
    names = [f"{text[:NAMED]}: " for text in listed(item.get("choices") or [])] or [""] * len(likelihoods)
    shown = ["NaN" if (value := number(one)) is None else f"{value:.2f}" for one in likelihoods[:ITEMS]]
    values = "; ".join(name + value for name, value in zip(names, shown, strict=False))
    right = f"; the right choice is number {flat(item['answer'])}, counted from 0" if "answer" in item else ""
    ends = [entry("log-likelihoods", values + right)] if values else []
    return [*(_texts(item) if "prediction" in item or "reference" in item else []), *ends]


def _many_labels(item: Row) -> list[Html]:
    wanted, made = listed(item.get("reference")), listed(item.get("prediction"))
    return [entry("reference", _set(wanted, made, "del")), entry("prediction", _set(made, wanted, "ins"))]


def _set(items: Sequence[str], others: Sequence[str], mark: str) -> Html:
    """Items; those that the other side does not have are marked."""
    if not items:
        return tag("em", "(none)")
    there = set(others)
    parts = [name(one) if one in there else tag(mark, name(one)) for one in items[:ITEMS]]
    return joined([*parts, *([f"{len(items) - ITEMS:,} more"] if len(items) > ITEMS else [])], ", ")


def _rankings(item: Row) -> list[Html]:
    wanted, made = listed(item.get("reference")), [str(one) for one in item.get("prediction") or ()]
    return [entry("relevant", _set(wanted, made, "del")), entry("ranking", _set(made, wanted, "ins"))]


def _tags(item: Row) -> list[Html]:
    """The words, each with its tag where it has one; of a wrong one what the reference has, then what was predicted."""
    wanted, made = listed(item.get("reference") or []), listed(item.get("prediction") or [])
    given = item.get("input")
    words = given if isinstance(given, list) else [str(place) for place in range(1, len(wanted) + 1)]
    triples = list(zip(map(str, words), wanted, made, strict=False))[:200]
    more = [f" … {len(wanted) - 200:,} more words"] if len(wanted) > 200 else []
    return [entry("tags", tag("p", joined([*(_word(*triple) for triple in triples), *more], " "), class_="text tags"))]


def _word(word: str, wanted: str, made: str) -> Html:
    shown = name(word)
    if wanted == made:
        return shown if wanted == "O" else joined([shown, tag("sub", name(wanted))])
    return tag("span", shown, tag("sub", tag("del", name(wanted)), " ", tag("ins", name(made))), class_="wrong")


def _boxes(item: Row) -> list[Html]:
    return [entry(side, _box_list(item.get(side) or ())) for side in ("reference", "prediction")]


def _box_list(boxes: Sequence[Mapping[str, Any]]) -> Html:
    if not boxes:
        return tag("em", "(none)")
    lines = [
        joined([name(str(box.get("label"))), f" at {flat(box.get('box'))}", _score(box)]) for box in boxes[:ITEMS]
    ]  # fmt: skip
    return joined([*lines, *([f"{len(boxes) - ITEMS:,} more"] if len(boxes) > ITEMS else [])], "; ")


def _score(box: Mapping[str, Any]) -> str:
    return "" if (score := number(box.get("score"))) is None else f" ({score:.2f})"


def _by(item: Row) -> list[Html]:
    slices = item.get("by")
    if not isinstance(slices, Mapping) or not slices:
        return []
    return [
        entry(
            "slices",
            joined((joined([short(str(key), 60), " ", name(str(value))]) for key, value in slices.items()), " · "),
        )
    ]


def plain(value: Any) -> Html:
    """A prediction or reference of any kind in a table's cell."""
    text = short(flat(value, 400), 160)
    return data(text, class_="long" if len(text) > 30 else None)


_KINDS = {
    "labels": _labels, "many-labels": _many_labels, "numbers": _labels, "tags": _tags, "plain-tags": _tags,
    "choices": _choices, "preferences": _choices, "rankings": _rankings, "boxes": _boxes, "language": _language,
}  # fmt: skip
