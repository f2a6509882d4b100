"""English synonyms from WordNet's data files: those of a word's usual sense that are as usual themselves.

The format is wndb(5WN), the counts cntlist(5WN). A word is left alone unless one sense is nearly all it is used in, since
no reader of one word knows which is meant (EDA, Wei and Zou 2019, draws a sense at random, and writes "big" as "adult").
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ptft.core.errors import InputError

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}  # ss_type of a sense key
_USUAL, _OF_SYNONYMS = 0.7, 0.6  # shares of a word's and of a synonym's uses that the usual sense has to have
_SEEN = 3  # a synonym is used at least so often in that sense in WordNet's tagged texts: prexy is no president
_STOP_WORDS = """
    a about above across after again against ago all also although always am among an and another any anybody anyone
    anything are around as at away back be became because become becomes been before behind being below between both but
    by came can cannot come could did do does doing done down during each either else enough even ever every everybody
    everyone everything except far few for from get gets getting give given go goes going gone got had has have having he
    hence her here hers herself him himself his how i if in indeed into is it its itself just keep least less let like
    made make makes many may me might mine more most much must my myself neither never next no nobody non none nor not
    nothing now nowhere of off on once one only onto or other others otherwise our ours ourselves out over own per
    please put quite rather really said same say says see seem seemed seems several shall she should since so some
    somebody someone something sometimes somewhere soon still such take than that the their theirs them themselves then
    there these they thing things this those though through thus to together too toward towards under until up upon us
    very via was way we well went were what whatever when where whether which while who whole whom whose why will with
    within without would year years yet you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_WORDS_LOOSE = """
    technology engineering defender guardian uptake intake elderly older committee commission strategy scheme city metropolis
    campaigner idea thought everyday mundane seriously earnestly existence being legacy bequest accountant terror panic unity
    integrity superstar cattle frenzy delirium resign vacate accolade holding quit tune mind ponder meditate aggressively
    tribunal kid child mood tragedy hate soul building
"""
_LOOSE = frozenset(_WORDS_LOOSE.split())  # read one by one: usual enough, but not for one another in text of today
REMEDY = (
    "install it (apt-get install wordnet-base), or name the folder that holds data.noun with --set augment.wordnet=DIR"
)


@dataclass(frozen=True)
class Sense:
    part: str  # n, v, a, r
    offset: int  # of its synset in the part's data file
    count: int  # uses in WordNet's tagged texts


@dataclass
class WordNet:
    """index: part -> lemma -> the rest of its line. data: part -> a whole data file. counts: (lemma, part) -> sense -> uses."""

    index: Mapping[str, Mapping[str, str]]
    data: Mapping[str, bytes]
    counts: Mapping[tuple[str, str], Mapping[int, int]]
    irregular: Mapping[str, frozenset[str]]  # part -> inflected forms of the exception list
    bases: Mapping[str, frozenset[str]]  # part -> what they are forms of
    _found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """What may stand for a lower-case word as it is written, inflected alike; () for a word better left alone."""
        if word not in self._found:
            self._found[word] = self._look_up(word)
        return self._found[word]

    def part(self, word: str) -> str:
        """ "n" or "v" where a word with synonyms can be noun or verb ("use"), and has them as the one; else ""."""
        if not (word in self.index["n"] and word in self.index["v"]):
            return ""
        usual = self._usual(word, _USUAL)
        return usual.part if usual else ""

    def phrase(self, first: str, second: str) -> bool:
        """Whether two words are one entry ("prime minister"), which has no synonym word by word."""
        joined = (f"{first}_{second}", f"{first}-{second}", f"{first}{second}")
        ends = ("", "s") if second.endswith("s") else ("",)
        return any(
            name.removesuffix(end) in lemmas for lemmas in self.index.values() for name in joined for end in ends
        )

    def _look_up(self, word: str) -> tuple[str, ...]:
        if word in STOP_WORDS or any(
            word in forms for forms in self.irregular.values()
        ):  # "found" is of "find" more often than not
            return ()
        inflected = list(self._stems(word))
        if any(word in lemmas for lemmas in self.index.values()):
            return () if inflected else self._alike(word, "nvar")
        if len(inflected) != 1:  # a plural noun or a verb's third person? "reports" is either
            return ()
        stem, part, ending = inflected[0]
        return tuple(
            made for name in self._alike(stem, part) if (made := self._inflected(name, part, ending)) and made != word
        )

    def _stems(self, word: str) -> Iterator[tuple[str, str, str]]:
        """Lemmas a regular form may be of, with their part of speech and the ending: "firms" -> ("firm", "n", "s")."""
        for ending, part in (("s", "n"), ("s", "v"), ("ed", "v"), ("ing", "v"), ("er", "a"), ("est", "a")):
            if not word.endswith(ending):
                continue
            stem = word[: -len(ending)]
            stems = (
                {stem, stem + "e", stem[:-1]} if ending != "s" else {stem, word[:-2] if word.endswith("es") else stem}
            )
            for name in sorted(stems):
                if name in self.index[part] and len(name) > 2:
                    yield name, part, ending

    def _plural(self, word: str) -> bool:
        return word.endswith("s") and any(stem in self.index["n"] for stem in (word[:-1], word[:-2], word[:-3] + "y"))

    def _inflected(self, word: str, part: str, ending: str) -> str:
        """A lemma with a regular ending; "" where it is not surely regular."""
        if word in self.bases.get({"n": "noun", "v": "verb"}.get(part, ""), ()):
            return ""
        if ending == "s" and part == "n" and not word.endswith(("s", "x", "z", "ch", "sh", "y", "o", "f", "fe", "man")):
            return word + "s"
        if ending == "ed" and not word.endswith("y"):
            return word + ("d" if word.endswith("e") else "ed")
        return ""

    def _alike(self, word: str, parts: str) -> tuple[str, ...]:
        sense = self._usual(word, _USUAL)
        if sense is None or sense.part not in parts:
            return ()
        return tuple(name for name in self._synset(sense) if _may_stand_for(word, name) and self._fits(name, sense))

    def _fits(self, name: str, sense: Sense) -> bool:
        if self._plural(name) or any(name in forms for forms in self.irregular.values()):
            return False  # "authorities" for "government": the verb would no longer agree
        usual = self._usual(name, _OF_SYNONYMS)
        return usual is not None and usual.count >= _SEEN and (usual.part, usual.offset) == (sense.part, sense.offset)

    def _usual(self, word: str, share: float) -> Sense | None:
        """The sense that has at least `share` of a word's uses, in all its parts of speech together (add-one smoothed)."""
        senses = [sense for part in self.index for sense in self._senses(word, part)]
        if not senses:
            return None
        best = max(senses, key=lambda sense: sense.count)
        total = sum(sense.count for sense in senses)
        return best if (best.count + 1) / (total + len(senses)) >= share or len(senses) == 1 else None

    def _senses(self, word: str, part: str) -> list[Sense]:
        line = self.index[part].get(word)
        if line is None:
            return []
        fields = line.split()
        offsets, counts = fields[-int(fields[1]) :], self.counts.get((word, part), {})
        return [Sense(part, int(offset), counts.get(number, 0)) for number, offset in enumerate(offsets, 1)]

    def _synset(self, sense: Sense) -> list[str]:
        data = self.data[sense.part]
        fields = data[sense.offset : data.index(b"\n", sense.offset)].decode("ascii", "replace").split(" ")
        return fields[4 : 4 + 2 * int(fields[3], 16) : 2]


def _may_stand_for(word: str, name: str) -> bool:
    plain = name.isascii() and name.isalpha() and name.islower() and len(name) > 3
    return plain and not ({name, word} & _LOOSE) and name not in STOP_WORDS and not _same_root(name, word)


def _same_root(left: str, right: str) -> bool:
    """Spellings of one word, or one within the other: favour and favor, nation and nationality change nothing."""
    short, long = sorted((left, right), key=len)
    spelled = [
        word.replace("our", "or").replace("s", "z").replace("ae", "e").replace("ll", "l") for word in (left, right)
    ]
    return long.startswith(short[: max(4, len(short) - 2)]) or spelled[0] == spelled[1]


# ---------------------------------------------------------------- reading


def find_wordnet(given: str = "") -> Path | None:
    """The folder with data.noun: the one given, or where WordNet, Debian and NLTK put it. A wrong one given: `InputError`."""
    if given:
        for folder in (Path(given), Path(given) / "dict"):
            if (folder / "data.noun").is_file() and (folder / "index.noun").is_file():
                return folder
        raise InputError("no WordNet here: it holds no data.noun with index.noun", where=given, remedy=REMEDY)
    return next((folder for folder in _usual_places() if (folder / "data.noun").is_file()), None)


def _usual_places() -> Iterator[Path]:
    if home := os.environ.get("WNHOME"):
        yield Path(home) / "dict"
    if searched := os.environ.get("WNSEARCHDIR"):
        yield Path(searched)
    yield from map(Path, ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/local/WordNet-3.0/dict"))
    roots = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    for root in (*roots, Path.home() / "nltk_data", Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")):
        yield root / "corpora" / "wordnet"


@lru_cache(maxsize=2)
def load_wordnet(folder: Path) -> WordNet:
    """WordNet's files in memory, read once a process; a synset is parsed when it is asked for. 40 MB, under a second."""
    try:
        index = {part: _index((folder / f"index.{name}").read_text("utf-8")) for name, part in PARTS.items()}
        data = {part: (folder / f"data.{name}").read_bytes() for name, part in PARTS.items()}
    except OSError as error:
        raise InputError(f"cannot read WordNet: {error.strerror}", where=str(error.filename), remedy=REMEDY) from error
    exceptions = {name: _exceptions(folder / f"{name}.exc") for name in PARTS}
    irregular = {name: frozenset(form for form, _ in pairs) for name, pairs in exceptions.items()}
    bases = {name: frozenset(base for _, base in pairs) for name, pairs in exceptions.items()}
    return WordNet(index, data, _counts(folder / "cntlist.rev"), irregular, bases)


def _index(text: str) -> dict[str, str]:
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith(" "))
    return {lemma: rest for lemma, _, rest in lines}


def _exceptions(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [(form, base) for form, *bases in map(str.split, lines) for base in bases if form != base]


def _counts(path: Path) -> dict[tuple[str, str], dict[int, int]]:
    """How often each numbered sense is used, from cntlist.rev; without that file none is known, and words of one sense remain."""
    found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        found[lemma, _TYPES[rest[0]]][int(number)] = int(count)
    return dict(found)
