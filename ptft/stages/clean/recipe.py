"""The knobs of `ptft clean`."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from ptft.core.contracts import CORPUS, Argument, Stage
from ptft.core.language import LANGUAGES
from ptft.core.recipes import Recipe, knob
from ptft.stages.clean.augment.recipe import Augment


def _share(default: float, help: str) -> float:
    """A knob that is a share, 0 to 1."""
    return knob(default, help, low=0, high=1)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- rule sets: a rule is a knob min_X or max_X
# Words stand between white space; in Chinese they are jieba's.


@dataclass(frozen=True)
class GopherQuality:
    """Rae et al. 2021, appendix A1.1, for text in an alphabet."""

    min_words: int = knob(50, "fewest words", low=0)
    max_words: int = knob(100_000, "most words", low=1)
    min_mean_word_length: float = knob(3.0, "shortest mean word length, in characters", low=0)
    max_mean_word_length: float = knob(10.0, "longest mean word length, in characters", low=0)
    max_symbols_per_word: float = knob(0.1, "most '#' or ellipses per word", low=0)
    max_bullet_lines: float = _share(0.9, "largest share of lines that start with a bullet")
    max_ellipsis_lines: float = _share(0.3, "largest share of lines that end in an ellipsis")
    min_alphabetic_words: float = _share(0.8, "smallest share of words with a letter")
    min_stop_words: int = knob(
        2, "fewest different stop words of {the, be, to, of, and, that, have, with} (English only)", low=0
    )


@dataclass(frozen=True)
class GopherRepetition:
    """Rae et al. 2021, table A1. Only what occurs at least twice counts as repeated."""

    max_duplicate_lines: float = _share(0.3, "largest share of lines seen before")
    max_duplicate_paragraphs: float = _share(0.3, "largest share of paragraphs seen before")
    max_duplicate_line_characters: float = _share(0.2, "largest share of characters in lines seen before")
    max_duplicate_paragraph_characters: float = _share(0.2, "largest share of characters in paragraphs seen before")
    max_top_2gram: float = _share(0.20, "largest share of characters in the most frequent word pair")
    max_top_3gram: float = _share(0.18, "the same for word triples")
    max_top_4gram: float = _share(0.16, "the same for four words")
    max_duplicate_5gram: float = _share(0.15, "largest share of characters in five words seen before")
    max_duplicate_6gram: float = _share(0.14, "the same for six words")
    max_duplicate_7gram: float = _share(0.13, "the same for seven words")
    max_duplicate_8gram: float = _share(0.12, "the same for eight words")
    max_duplicate_9gram: float = _share(0.11, "the same for nine words")
    max_duplicate_10gram: float = _share(0.10, "the same for ten words")


@dataclass(frozen=True)
class C4:
    """Raffel et al. 2020, section 2.2, and its code's long words and policy lines. Lines go first, then documents."""

    terminal_punctuation: bool = knob(False, "drop lines that end in no terminal punctuation (FineWeb turned it off)")
    min_line_words: int = knob(3, "lines of fewer words are dropped", low=0)
    max_word_characters: int = knob(1000, "lines with a longer word are dropped", low=1)
    javascript_lines: bool = knob(True, "drop lines that mention javascript")
    policy_lines: bool = knob(True, "drop lines about terms of use, privacy and cookies")
    citations: bool = knob(True, "remove Wikipedia's [1], [edit], [citation needed]")
    max_lorem_ipsum: int = knob(0, "most times 'lorem ipsum'", low=0)
    max_curly_brackets: int = knob(0, "most '{' (any code has one)", low=0)
    min_sentences: int = knob(5, "fewest sentences", low=0)


@dataclass(frozen=True)
class FineWeb:
    """Penedo et al. 2024, section 3.6, and its language score."""

    min_language_score: float = _share(0.65, "smallest probability of the language")
    min_punctuated_lines: float = _share(0.12, "smallest share of lines that end in terminal punctuation")
    max_short_lines: float = _share(0.67, "largest share of lines of 30 characters or fewer")
    max_duplicate_line_characters: float = _share(0.01, "largest share of characters in lines seen before")
    max_newlines_per_word: float = knob(0.3, "most newlines a word (punctuation marks are words here)", low=0)


@dataclass(frozen=True)
class FineWeb2:
    """Penedo et al. 2025, the configuration cmn_Hani, for Chinese; shares of jieba's words."""

    min_words: int = knob(50, "fewest words", low=0)
    max_words: int = knob(100_000, "most words", low=1)
    min_language_score: float = _share(0.692, "smallest probability of the language")
    min_mean_word_length: float = knob(1.0, "shortest mean word length, in characters", low=0)
    max_mean_word_length: float = knob(5.0, "longest mean word length, in characters", low=0)
    max_symbols_per_word: float = knob(0.1, "most '#' or ellipses per word", low=0)
    max_bullet_lines: float = _share(0.9, "largest share of lines that start with a bullet")
    max_ellipsis_lines: float = _share(0.3, "largest share of lines that end in an ellipsis")
    min_alphabetic_words: float = _share(0.735, "smallest share of words with a letter or Han character")
    min_stop_words: int = knob(2, "fewest different stop words of 的, 年, 在, 月, 是, 和, 日, 了 and 14 more", low=0)
    min_punctuated_lines: float = _share(0.106, "smallest share of lines that end in terminal punctuation")
    max_newlines_per_word: float = knob(0.178, "most newlines a word", low=0)
    max_duplicate_lines: float = _share(0.287, "largest share of lines seen before")
    max_duplicate_line_characters: float = _share(0.1, "largest share of characters in lines seen before")
    max_top_2gram: float = _share(0.256, "largest share of characters in the most frequent word pair")
    max_top_3gram: float = _share(0.201, "the same for word triples")
    max_top_4gram: float = _share(0.171, "the same for four words")
    max_duplicate_5gram: float = _share(0.198, "largest share of characters in five words seen before")
    max_duplicate_6gram: float = _share(0.182, "the same for six words")
    max_duplicate_7gram: float = _share(0.167, "the same for seven words")
    max_duplicate_8gram: float = _share(0.154, "the same for eight words")
    max_duplicate_9gram: float = _share(0.14, "the same for nine words")
    max_duplicate_10gram: float = _share(0.127, "the same for ten words")


@dataclass(frozen=True)
class Noise:
    """What is no prose, in English and Chinese."""

    max_lorem_ipsum: int = knob(0, "most times 'lorem ipsum'", low=0)
    max_boilerplate_lines: float = _share(
        0.3, "largest share of lines that are a website's own: cookies, copyright, share"
    )
    max_spam: float = knob(6.0, "highest score of advertising phrases, contacts and offers per 100 tokens", low=0)
    max_code_share: float = _share(0.5, "largest share of lines that are source code, markup or log output")


PERSONAL = ("email", "ip", "phone", "mobile_zh", "id_zh", "bank_card")
LISTS = ("en", "zh")
RULE_SETS = ("gopher_quality", "gopher_repetition", "c4", "fineweb", "fineweb2", "noise")
RULES = {
    "off": (),
    "auto": ("gopher_quality", "gopher_repetition", "fineweb2", "noise"),
    "on": ("gopher_quality", "gopher_repetition", "fineweb2", "noise"),
    "web": RULE_SETS,
}


# ---------------------------------------------------------------- the other steps


@dataclass(frozen=True)
class Normalise:
    """How a text is written before anything is judged."""

    repair: bool = knob(True, "mend mojibake: UTF-8 that was read as another encoding")
    script: Literal["keep", "simplified", "traditional"] = knob(
        "keep", "Chinese characters: keep, simplified or traditional"
    )
    html: Literal["main", "all", "off"] = knob(
        "main", "text of .html files and of rows that are pages: main content, all, or off (left as they are)"
    )
    encoding: str = knob(
        "auto", "of files that are not UTF-8: auto (documents: detected; tables: rejected), or a name such as gb18030"
    )


@dataclass(frozen=True)
class Sensitive:
    """Sensitive words, many thousands at once."""

    lists: str = knob("", "ptft's own short lists: en, zh or en,zh", flag="--sensitive")
    files: tuple[str, ...] = knob((), "lists of your own: text files, a word a line", flag="--words", path="rows")
    action: Literal["drop", "mask"] = knob("drop", "a text with sensitive words: drop it, or mask the words")
    max_sensitive_words: int = knob(0, "most sensitive words a text may have before it is dropped", low=0)


@dataclass(frozen=True)
class Duplicates:
    """MinHash + LSH candidates, each verified by its exact Jaccard similarity; exact repeats of lines and paragraphs."""

    enabled: bool = knob(True, "drop exact and near-duplicates")
    threshold: float = knob(
        0.8, "Jaccard similarity of shingles from which two rows are duplicates", flag="--threshold", above=0, high=1
    )
    shingle: int = knob(5, "words (or Han characters) in a shingle", low=1)
    permutations: int = knob(128, "MinHash permutations; bands follow from threshold", low=16)
    keep: Literal["first", "longest", "best"] = knob(
        "longest", "which row of a cluster stays: first, longest, or best (by what the rules measure)", flag="--keep"
    )
    parts: Literal["off", "lines", "paragraphs"] = knob(
        "off", "drop lines or paragraphs seen before (rows of text only)"
    )
    scope: Literal["document", "corpus"] = knob(
        "corpus", "where parts were seen before: in the same document, or in the corpus"
    )
    min_part_characters: int = knob(20, "shorter lines and paragraphs are never dropped", low=0)
    against: tuple[str, ...] = knob(
        (), "earlier results (or any rows): rows like theirs are dropped", flag="--against", path="rows"
    )


@dataclass(frozen=True)
class Protect:
    """Evaluation sets that no training row may share text with."""

    files: tuple[str, ...] = knob(
        (), "evaluation rows; rows that share n-grams with them go", flag="--protect", path="rows"
    )
    ngram: int = knob(13, "words (or Han characters) in a shared n-gram (GPT-3's 13)", low=2)
    min_tokens: int = knob(
        8, "evaluation texts shorter than ngram are looked for whole, from this many tokens on", low=1
    )
    action: Literal["drop", "cut"] = knob("drop", "drop the row, or cut the shared span out of it")


@dataclass(frozen=True, kw_only=True)
class CleanRecipe(Recipe):
    columns: dict[str, str] = knob({}, "wanted name -> name in the file, e.g. columns.text=body")
    text_field: str = knob("text", "the field that holds the text", flag="--text-field")
    normalise: Normalise = knob(Normalise, "how texts are written")
    lang: str = knob("", "languages to keep, e.g. en,zh (empty: all)", flag="--lang")
    min_language_score: float = _share(0, "smallest probability of a row's language")
    rules: Literal["auto", "on", "web", "off"] | str = knob(
        "auto",
        "rule sets: auto (gopher_quality, gopher_repetition, fineweb2, noise; for rows of text, not dialogues or pairs), on (the "
        "same for all rows), web (all: c4 and fineweb too), off, or a list of sets",
        flag="--rules",
    )
    gopher_quality: GopherQuality = knob(GopherQuality, "Gopher's quality rules")
    gopher_repetition: GopherRepetition = knob(GopherRepetition, "Gopher's repetition rules")
    c4: C4 = knob(C4, "C4's rules")
    fineweb: FineWeb = knob(FineWeb, "FineWeb's rules")
    fineweb2: FineWeb2 = knob(FineWeb2, "FineWeb-2's rules for Chinese")
    noise: Noise = knob(Noise, "advertisements, code, boilerplate")
    sensitive: Sensitive = knob(Sensitive, "sensitive words")
    personal: str = knob(
        "", "personal data to mask: all, or some of email, ip, phone, mobile_zh, id_zh, bank_card", flag="--mask"
    )
    duplicates: Duplicates = knob(Duplicates, "near-duplicates")
    protect: Protect = knob(Protect, "decontamination")
    augment: Augment = knob(Augment, "augmentation")
    reapply: str = knob(
        "",
        "an earlier result of clean: its rows and measures, with this recipe's limits",
        flag="--reapply",
        path="folder",
    )
    output: Literal["jsonl", "jsonl.zst", "jsonl.gz"] = knob("jsonl", "how the corpus is written")
    samples: int = knob(5, "dropped rows a rule that the report shows", low=0)
    max_row_bytes: int = knob(16 * 2**20, "a longer row is rejected", low=1)
    sample: int = knob(1000, "rows that --dry-run judges", flag="--sample", low=1, identity=False)
    block_rows: int = knob(
        2000, "rows a unit of work; an interrupted run goes on at the last whole one", low=1, identity=False
    )
    workers: int = knob(0, "processes (0: one a core)", flag="--workers", low=0, identity=False)

    @property
    def languages(self) -> tuple[str, ...]:
        return listed(self.lang)

    @property
    def rule_sets(self) -> tuple[str, ...]:
        named = RULES[self.rules] if self.rules in RULES else listed(self.rules)
        blocked = ("sensitive",) if self.word_lists and self.sensitive.action == "drop" else ()
        return (*(name for name in RULE_SETS if name in named), *blocked)

    @property
    def identifies(self) -> bool:
        """Whether anything depends on a row's language."""
        return bool(self.lang) or self.min_language_score > 0 or self.measures

    @property
    def measures(self) -> bool:
        """Whether anything needs what the rules measure."""
        return bool(self.rule_sets) or self.duplicates.keep == "best"

    @property
    def word_lists(self) -> bool:
        return bool(self.sensitive.lists or self.sensitive.files)

    @property
    def personal_kinds(self) -> tuple[str, ...]:
        return PERSONAL if self.personal == "all" else listed(self.personal)

    def problems(self) -> list[str]:
        problems = [*_unknown("lang", self.languages, LANGUAGES), *self.augment.problems()]
        if not listed(self.rules):
            problems.append("rules: name a set, or off")
        if self.rules not in RULES:
            problems += _unknown("rules", listed(self.rules), (*RULES, *RULE_SETS))
        problems += _unknown("personal", self.personal_kinds, PERSONAL) + _unknown(
            "sensitive.lists", listed(self.sensitive.lists), LISTS
        )
        if self.normalise.encoding != "auto":
            try:
                codecs.lookup(self.normalise.encoding)
            except LookupError:
                problems.append(f"normalise.encoding: {self.normalise.encoding!r} is no encoding that Python knows")
        if self.text_field != "text" and self.columns.get("text", self.text_field) != self.text_field:
            problems.append(f"text_field = {self.text_field!r} and columns.text = {self.columns['text']!r} differ")
        return problems


def _unknown(knob_name: str, given: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    return [f"{knob_name}: {name!r} is not one of {', '.join(known)}" for name in given if name not in known]


def listed(names: str) -> tuple[str, ...]:
    """The parts of a comma-separated value."""
    return tuple(part.strip() for part in names.split(",") if part.strip())


STAGE = Stage(
    name="clean",
    help="Raw text to a clean corpus. Normalised, filtered by rules for its language, without duplicates; a reason for each drop.",
    recipe=CleanRecipe,
    module="ptft.stages.clean.run",
    arguments=(
        Argument(
            "data", "INPUT...", "files, folders, globs, '-' (JSONL on standard input) or hf:NAME", "rows", optional=True
        ),
    ),
    makes=CORPUS,
)
