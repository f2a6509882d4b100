"""The knobs of `ptft clean`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import CORPUS, Argument, Stage
from ptft.core.recipes import Recipe, knob
from ptft.core.text import LANGUAGES


@dataclass(frozen=True)
class EnglishRules:
    """Gopher's quality and repetition rules (Rae et al. 2021, table A1), for text in an alphabet."""

    min_words: int = knob(50, "fewest words", low=0)
    max_words: int = knob(100_000, "most words", low=1)
    min_mean_word_length: float = knob(3.0, "shortest mean word length, in characters", low=0)
    max_mean_word_length: float = knob(10.0, "longest mean word length, in characters", low=0)
    max_symbols_per_word: float = knob(0.1, "most '#' or ellipses per word", low=0)
    max_bullet_lines: float = knob(0.9, "largest share of lines that start with a bullet", low=0, high=1)
    max_ellipsis_lines: float = knob(0.3, "largest share of lines that end in an ellipsis", low=0, high=1)
    min_alphabetic_words: float = knob(0.8, "smallest share of words with a letter", low=0, high=1)
    min_stop_words: int = knob(2, "fewest different stop words of {the, be, to, of, and, that, have, with}", low=0)
    max_duplicate_lines: float = knob(0.3, "largest share of lines seen before", low=0, high=1)
    max_duplicate_line_characters: float = knob(0.2, "largest share of characters in such lines", low=0, high=1)
    max_duplicate_paragraphs: float = knob(0.3, "largest share of paragraphs seen before", low=0, high=1)
    max_duplicate_paragraph_characters: float = knob(
        0.2, "largest share of characters in such paragraphs", low=0, high=1
    )
    max_top_2gram: float = knob(0.20, "largest share of characters in the most frequent word pair", low=0, high=1)
    max_top_3gram: float = knob(0.18, "the same for word triples", low=0, high=1)
    max_top_4gram: float = knob(0.16, "the same for four words", low=0, high=1)
    max_duplicate_5gram: float = knob(0.15, "largest share of characters in five words seen before", low=0, high=1)
    max_duplicate_6gram: float = knob(0.14, "the same for six words", low=0, high=1)
    max_duplicate_7gram: float = knob(0.13, "the same for seven words", low=0, high=1)
    max_duplicate_8gram: float = knob(0.12, "the same for eight words", low=0, high=1)
    max_duplicate_9gram: float = knob(0.11, "the same for nine words", low=0, high=1)
    max_duplicate_10gram: float = knob(0.10, "the same for ten words", low=0, high=1)


@dataclass(frozen=True)
class ChineseRules:
    """FineWeb-2's rules for cmn_Hani, counted in characters where Chinese has no spaces.

    A Latin word in Chinese text counts as one character of an n-gram. Where FineWeb-2 counts words, six of them are taken
    for ten characters.
    """

    min_characters: int = knob(50, "fewest Han characters", low=0)
    max_characters: int = knob(500_000, "most characters", low=1)
    min_alphabetic: float = knob(
        0.5, "smallest share of characters that are letters or Han, spaces aside", low=0, high=1
    )
    min_punctuated_lines: float = knob(
        0.106, "smallest share of lines that end in punctuation (from 10 lines on)", low=0, high=1
    )
    max_duplicate_lines: float = knob(0.287, "largest share of lines seen before", low=0, high=1)
    max_top_2gram: float = knob(0.256, "largest share of characters in the most frequent character pair", low=0, high=1)
    max_top_3gram: float = knob(0.201, "the same for three characters", low=0, high=1)
    max_top_4gram: float = knob(0.171, "the same for four characters", low=0, high=1)
    max_duplicate_10gram: float = knob(
        0.182, "largest share of characters in ten characters seen before", low=0, high=1
    )
    max_newlines_per_character: float = knob(0.11, "most line ends a character (FineWeb-2: .178 a word)", low=0, high=1)
    min_stop_words: int = knob(1, "fewest different stop words of {的, 年, 在, 月, 是, 和, 日, 了}", low=0)


@dataclass(frozen=True)
class Duplicates:
    """MinHash + LSH candidates, each verified by its exact Jaccard similarity."""

    enabled: bool = knob(True, "drop exact and near-duplicates")
    threshold: float = knob(
        0.8, "Jaccard similarity of shingles from which two rows are duplicates", flag="--threshold", above=0, high=1
    )
    shingle: int = knob(5, "words (or Han characters) in a shingle", low=1)
    permutations: int = knob(128, "MinHash permutations; bands follow from threshold", low=16)
    keep: Literal["first", "longest"] = knob("longest", "which row of a cluster stays: first or longest", flag="--keep")


@dataclass(frozen=True, kw_only=True)
class CleanRecipe(Recipe):
    columns: dict[str, str] = knob({}, "wanted name -> name in the file, e.g. columns.text=body")
    text_field: str = knob("text", "the field that holds the text", flag="--text-field")
    lang: str = knob("", "languages to keep, e.g. en,zh (empty: all)", flag="--lang")
    rules: Literal["auto", "on", "off"] = knob(
        "auto", "quality rules: auto applies them to rows of text, not to dialogues or pairs", flag="--rules"
    )
    english: EnglishRules = knob(EnglishRules, "rules for text in an alphabet")
    chinese: ChineseRules = knob(ChineseRules, "rules for Chinese text")
    duplicates: Duplicates = knob(Duplicates, "near-duplicates")
    output: Literal["jsonl", "jsonl.zst", "jsonl.gz"] = knob("jsonl", "how the corpus is written")
    max_row_bytes: int = knob(16 * 2**20, "a longer row is rejected", low=1)
    block_rows: int = knob(
        2000, "rows a unit of work; an interrupted run goes on at the last whole one", low=1, identity=False
    )
    workers: int = knob(0, "processes (0: one a core)", flag="--workers", low=0, identity=False)

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.lang.split(",") if part.strip())

    def problems(self) -> list[str]:
        unknown = [name for name in self.languages if name not in LANGUAGES]
        problems = [f"lang: {name!r} is not one of {', '.join(LANGUAGES)}" for name in unknown]
        if self.text_field != "text" and self.columns.get("text", self.text_field) != self.text_field:
            problems.append(f"text_field = {self.text_field!r} and columns.text = {self.columns['text']!r} differ")
        return problems


STAGE = Stage(
    name="clean",
    help="Raw text to a clean corpus. Normalised, filtered by rules for its language, without duplicates; a reason for each drop.",
    recipe=CleanRecipe,
    module="ptft.stages.clean.run",
    arguments=(
        Argument("data", "INPUT...", "files, folders, globs, '-' (JSONL on standard input) or hf:NAME", "rows"),
    ),
    makes=CORPUS,
)
