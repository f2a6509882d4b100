"""More rows from the rows there are, each through the guards; a new row says how and from which id it was made.

`augment_rows` depends on its arguments alone, so that blocks can be worked anywhere, in any order, again after a kill.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ptft.core.errors import RunError
from ptft.core.examples import Shape, row_text, shape_of
from ptft.core.origin import source_id
from ptft.core.text import language
from ptft.stages.clean.augment import cilin, fields, wordnet
from ptft.stages.clean.augment.guards import Verdict, canonical, judge
from ptft.stages.clean.augment.recipe import BACK_TRANSLATION, SYNONYMS, Augment, Translators
from ptft.stages.clean.augment.sentences import rewritten, sentences, translatable
from ptft.stages.clean.augment.synonyms import Slots, chinese_slots, choose, english_slots, replaced
from ptft.stages.clean.augment.translate import RoundTrip, round_trip

LANGUAGES = {"en": "English", "zh": "Chinese"}
OF_THE_SOURCE = ("cluster_size",)  # fields that `ptft clean` adds to a kept row: true of that row, not of its copies
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Augmented:
    """rows: the new ones, those of a source together and in its order. refused: copies not made, by reason.

    sentences: of back-translation, how many were "kept" and how many refused, by reason; refused ones stay as they were.
    """

    rows: list[dict[str, Any]]
    refused: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)

    @property
    def made(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Item:
    """A row that can be augmented. texts: what may be said in other words; of a row of tags, its tokens joined."""

    row: Data
    shape: Shape
    texts: tuple[str, ...]
    language: str

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@dataclass(frozen=True)
class Copy:
    """How a row could be said otherwise. data: the whole new row but for what `augmented` adds."""

    data: dict[str, Any]
    text: str
    changed: int  # words, or sentences
    engine: str


@dataclass(frozen=True)
class _Guards:
    """What the copies of one row must pass. seen: the texts of that row and of its copies."""

    recipe: Augment
    taken: Callable[[str], bool]
    seen: set[tuple[str, ...]]


def augment_rows(
    rows: Sequence[Data], recipe: Augment, seed: int, *, taken: Callable[[str], bool] = lambda text: False
) -> Augmented:
    """New rows of `rows`, each of which has an "id"; rows that are augmented already have none.

    taken: whether a text (`row_text` of a new row) is there already; such a copy is refused as a duplicate. Raises `PtftError` where an engine cannot run; `ready` raises it sooner.
    """
    made = Augmented([])
    items = [_item(row) for row in rows]
    translated = _translated(items, recipe, made.sentences) if BACK_TRANSLATION in recipe.kinds else {}
    for item in items:
        if isinstance(item, str):
            made.refused[item] += _copies(recipe)
            continue
        guards = _Guards(recipe, taken, {canonical(item.text)})
        if SYNONYMS in recipe.kinds:
            for number, copy in enumerate(_synonym_copies(item, recipe, seed), 1):
                _take(made, item, SYNONYMS, number, copy, guards)
        if BACK_TRANSLATION in recipe.kinds:
            _take(made, item, BACK_TRANSLATION, 1, _back_translated(item, translated, recipe), guards)
    return made


def ready(recipe: Augment) -> tuple[str, ...]:
    """The names of the dictionaries and engines that will be used, all loaded. `PtftError` where a kind has none at all."""
    named: list[str] = []
    for kind in recipe.kinds:
        found = _dictionaries(recipe) if kind == SYNONYMS else {n: e.name for n, e in _engines(recipe).items()}
        if not found and kind == SYNONYMS:
            what = "synonyms need WordNet (English) or cilin (Chinese), and neither is here"
            raise RunError(what, remedy=f"WordNet: {wordnet.REMEDY}. cilin: {cilin.REMEDY}")
        if not found:
            raise RunError("back-translation has no engine", remedy=_models_remedy("zh"))
        named += found.values()
    return tuple(named)


def lacking(recipe: Augment) -> tuple[str, ...]:
    """A line for each language whose rows a kind cannot augment, with the remedy. Raises what `ready` raises."""
    lines: list[str] = []
    for kind in recipe.kinds:
        found = _dictionaries(recipe) if kind == SYNONYMS else _engines(recipe)
        for lang in LANGUAGES:
            if lang not in found:
                lines.append(f"no {kind} for {LANGUAGES[lang]}: {_remedy(kind, lang)}")
    return tuple(lines)


def _remedy(kind: str, lang: str) -> str:
    if kind == SYNONYMS:
        return {"en": wordnet.REMEDY, "zh": cilin.REMEDY}[lang]
    apertium = "install apertium (apt-get install apertium apertium-eng-spa), or " if lang == "en" else ""
    return apertium + _models_remedy(lang)


def _models_remedy(lang: str) -> str:
    knob = f"augment.{LANGUAGES[lang].lower()}"
    return f"name two Marian models: --set {knob}.forward=FOLDER --set {knob}.back=FOLDER"


def located(recipe: Augment, folders: Mapping[str, Path], prefix: str = "augment.") -> Augment:
    """The recipe with what its path knobs name ("hf:ORG/NAME" too) as the folders that the runner found and hashed."""

    def at(name: str, value: str) -> str:
        return str(folders.get(prefix + name, value))

    def models(name: str, given: Translators) -> Translators:
        return Translators(forward=at(f"{name}.forward", given.forward), back=at(f"{name}.back", given.back))

    return replace(
        recipe, wordnet=at("wordnet", recipe.wordnet), cilin=at("cilin", recipe.cilin),
        english=models("english", recipe.english), chinese=models("chinese", recipe.chinese),
    )  # fmt: skip


# ---------------------------------------------------------------- rows


def _copies(recipe: Augment) -> int:
    return sum(recipe.copies if kind == SYNONYMS else 1 for kind in recipe.kinds)


def _item(row: Data) -> Item | str:
    """The row as an item, or why it is none."""
    shape = shape_of(row)
    if source_id(row) is not None:
        return "augmented already"
    if shape is None or shape.name not in fields.TAKEN or shape.problem({**row, "label": row.get("label") or ""}):
        return "no shape that can be augmented"
    if shape.name == "tags":
        tokens = row["tokens"]
        if len(tokens) != len(row["tags"]) or not all(isinstance(token, str) and token for token in tokens):
            return "no shape that can be augmented"
        lang = language("".join(tokens))
        return Item(row, shape, (fields.joined(tokens, _space(lang))[0],), lang)
    texts = tuple(fields.texts_of(row, shape))
    return Item(row, shape, texts, language("\n".join(texts))) if any(texts) else "no text"


def _space(lang: str) -> str:
    return "" if lang == "zh" else " "


def _take(made: Augmented, item: Item, how: str, number: int, copy: Copy | str, guards: _Guards) -> None:
    """Add a copy that passes the guards, or count why it is refused."""
    verdict = Verdict(copy, 0.0) if isinstance(copy, str) else judge(item.text, copy.text, guards.recipe)
    if isinstance(copy, str) or verdict.reason:
        made.refused[verdict.reason] += 1
        return
    key = canonical(copy.text)
    data = {field: value for field, value in copy.data.items() if field not in OF_THE_SOURCE}
    if key in guards.seen or guards.taken(row_text(data)):
        made.refused["duplicate"] += 1
        return
    guards.seen.add(key)
    source = item.row["id"]
    note = {
        "from": source, "how": how, "engine": copy.engine,
        "similarity": round(verdict.similarity, 4), "changed": copy.changed,
    }  # fmt: skip
    made.rows.append({**data, "id": f"{source}#{how}-{number}", "augmented": note})


# ---------------------------------------------------------------- synonyms


@lru_cache(maxsize=2)
def _found(given_wordnet: str, given_cilin: str) -> dict[str, str]:
    english, chinese = wordnet.find_wordnet(given_wordnet), cilin.find_cilin(given_cilin)
    return {lang: str(path) for lang, path in (("en", english), ("zh", chinese)) if path is not None}


def _dictionaries(recipe: Augment) -> dict[str, str]:
    """Language -> where its dictionary is."""
    return _found(recipe.wordnet, recipe.cilin)


def _slots(text: str, lang: str, dictionaries: Mapping[str, str]) -> Slots:
    if lang == "zh":
        return chinese_slots(text, cilin.load_cilin(Path(dictionaries["zh"])))
    return english_slots(text, wordnet.load_wordnet(Path(dictionaries["en"])))


def _synonym_copies(item: Item, recipe: Augment, seed: int) -> Iterable[Copy | str]:
    dictionaries = _dictionaries(recipe)
    if item.language not in dictionaries:
        missing = {"en": "no WordNet", "zh": "no cilin"}.get(item.language, f"no synonyms for {item.language}")
        return [missing] * recipe.copies
    slots = [_slots(text, item.language, dictionaries) for text in item.texts]
    if item.shape.name == "tags":
        slots = [_of_tokens(item, slots[0])]
    if not any(each.found for each in slots):
        return ["nothing to replace"] * recipe.copies
    draws = (random.Random(f"{seed}:{item.row['id']}:{number}") for number in range(1, recipe.copies + 1))
    return [_synonym_copy(item, slots, recipe.share, rng) for rng in draws]


def _synonym_copy(item: Item, slots: Sequence[Slots], share: float, rng: random.Random) -> Copy:
    chosen = [choose(each, share, rng) if each.found else [] for each in slots]
    texts = [replaced(text, some) for text, some in zip(item.texts, chosen, strict=True)]
    if item.shape.name == "tags":
        _, spans = fields.joined(item.row["tokens"], _space(item.language))
        new = {(slot.start, slot.end): word for slot, word in chosen[0]}
        tokens = [new.get(span, token) for span, token in zip(spans, item.row["tokens"], strict=True)]
        data = {**item.row, "tokens": tokens}
    else:
        data = fields.with_texts(item.row, item.shape, texts)
    engine = {"en": "wordnet", "zh": "cilin"}[item.language]
    return Copy(data, "\n".join(texts), sum(map(len, chosen)), engine)


def _of_tokens(item: Item, slots: Slots) -> Slots:
    """The slots that are a whole token each, of a tag that a synonym keeps."""
    _, spans = fields.joined(item.row["tokens"], _space(item.language))
    may = {span for span, free in zip(spans, fields.replaceable(item.row["tags"]), strict=True) if free}
    return Slots(tuple(slot for slot in slots.found if (slot.start, slot.end) in may), slots.content)


# ---------------------------------------------------------------- back-translation


def _engines(recipe: Augment) -> dict[str, RoundTrip]:
    engines = {lang: round_trip(recipe, lang) for lang in LANGUAGES}
    return {lang: engine for lang, engine in engines.items() if engine is not None}


def _translated(items: Sequence[Item | str], recipe: Augment, tally: Counter[str]) -> dict[str, dict[str, str]]:
    """Language -> sentence -> how it came back, for those that pass the guards one by one. Counts all into `tally`."""
    wanted: dict[str, dict[str, None]] = {}
    for item in items:
        if isinstance(item, Item) and item.shape.name != "tags":
            found = (text[start:end] for text in item.texts for start, end in sentences(text))
            wanted.setdefault(item.language, {}).update(dict.fromkeys(filter(translatable, found)))
    alone = replace(recipe, max_similarity=1.0)  # the band's upper end is for the whole text
    return {
        lang: _guarded(engine.translate(list(wanted[lang])), list(wanted[lang]), alone, tally)
        for lang, engine in _engines(recipe).items()
        if lang in wanted
    }


def _guarded(copies: Sequence[str], sources: Sequence[str], recipe: Augment, tally: Counter[str]) -> dict[str, str]:
    verdicts = [judge(source, copy, recipe).reason for source, copy in zip(sources, copies, strict=True)]
    tally.update(reason or "kept" for reason in verdicts)
    return {source: copy for source, copy, reason in zip(sources, copies, verdicts, strict=True) if not reason}


def _back_translated(item: Item, translated: Mapping[str, Mapping[str, str]], recipe: Augment) -> Copy | str:
    if item.shape.name == "tags":
        return "tags hold for no translation"
    if item.language not in translated:
        return f"no engine for {item.language}" if item.language not in _engines(recipe) else "nothing to translate"
    pairs = [rewritten(text, translated[item.language]) for text in item.texts]
    changed = sum(count for _, count in pairs)
    if not changed:
        return "no sentence passed"
    texts = [text for text, _ in pairs]
    engine = _engines(recipe)[item.language].name
    return Copy(fields.with_texts(item.row, item.shape, texts), "\n".join(texts), changed, engine)
