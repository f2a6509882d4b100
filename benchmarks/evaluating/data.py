"""What models are asked: news with topics, dialogues in English and Chinese with right and wrong replies, texts to read."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetuning.data import _dialogues

TOPICS = ("business", "entertainment", "politics", "sports", "tech")
ABOUT = {  # the same topics in words of very different length
    "business": "business and the economy", "entertainment": "film, music, television and their celebrities",
    "politics": "politics", "sports": "sports", "tech": "technology, computers and the internet",
}  # fmt: skip
OPENING = 60  # words of an article
CHOICES = 4  # replies to a question
POOL = 40  # solved examples to draw shots from
REPLY = 80  # characters at most: lm-evaluation-harness ends where a choice alone is longer than the context
LONG = 3500  # characters: longer than 512 tokens of any tokenizer here
Row = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """Rows of each set: articles, dialogues of a language, long texts, short texts of a language."""

    articles: int
    dialogues: int
    long: int
    short: int


def make(data: Path, cache: Path, folder: Path, counts: Counts, seed: int) -> None:
    """Write topic, reply-en, reply-zh (each with NAME-shots), long, short-en and short-zh as JSONL into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    news, chats = _articles(data), list(_dialogues(data, cache))
    made = {"long": _long(news, counts.long)}
    made["topic"], made["topic-shots"] = _split(_topics(news, seed), counts.articles)
    for language in ("en", "zh"):
        pairs = _pairs(chats, language)
        made[f"reply-{language}"], made[f"reply-{language}-shots"] = _split(_replies(pairs, seed), counts.dialogues)
        made[f"short-{language}"] = [
            {"id": f"{language}-{n}", "text": f"{question}\n{answer}"}
            for n, (question, answer) in enumerate(pairs[: counts.short])
        ]
    for name, rows in made.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def _split(rows: list[Row], count: int) -> tuple[list[Row], list[Row]]:
    """(rows to ask, others to show as solved examples)."""
    return rows[POOL : POOL + count], rows[:POOL]


def _articles(data: Path) -> list[Row]:
    """{"id", "text", "label"}, copies left out."""
    rows = map(json.loads, (data / "bbc.jsonl").read_text(encoding="utf-8").splitlines())
    different = {row["text"]: row for row in rows}
    return [{"label": row["id"].split("/")[0], **row} for row in different.values()]


def _topics(news: Sequence[Row], seed: int) -> list[Row]:
    """Openings of articles, topics in turn. answer: the topic's number."""
    draw, by_topic = random.Random(seed), {}
    for topic in TOPICS:
        by_topic[topic] = [row for row in news if row["label"] == topic]
        draw.shuffle(by_topic[topic])
    return [
        {
            "id": row["id"], "text": " ".join(row["text"].split()[:OPENING]), "topic": row["label"],
            "about": ABOUT[row["label"]], "answer": TOPICS.index(row["label"]),
        }
        for several in zip(*by_topic.values(), strict=False) for row in several
    ]  # fmt: skip


def _long(news: Sequence[Row], count: int) -> list[Row]:
    return [{"id": row["id"], "text": row["text"]} for row in news if len(row["text"]) > LONG][:count]


def _pairs(chats: Sequence[Row], language: str) -> list[tuple[str, str]]:
    """(question, reply), every question once."""
    found: dict[str, str] = {}
    for chat in chats:
        if str(chat["lang"]).startswith("en") == (language == "en"):
            question, reply = (" ".join(message["content"].split()) for message in chat["messages"][:2])
            if 0 < len(question) <= REPLY and 0 < len(reply) <= REPLY and question not in found:
                found[question] = reply
    return list(found.items())


def _replies(pairs: Sequence[tuple[str, str]], seed: int) -> list[Row]:
    """Questions with `CHOICES` replies, one of them right. answer: its number."""
    draw = random.Random(seed)
    rows = []
    for number, (question, reply) in enumerate(draw.sample(pairs, len(pairs))):
        different = dict.fromkeys(other for _, other in draw.sample(pairs, 3 * CHOICES) if other != reply)
        others = list(different)[: CHOICES - 1]
        place = draw.randrange(CHOICES)
        choices = [*others[:place], reply, *others[place:]]
        rows.append({"id": str(number), "question": question, "choices": choices, "reply": reply, "answer": place})
    return rows
