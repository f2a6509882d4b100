"""The tasks, each as a file of lm-evaluation-harness and as one of ptft's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluating.data import ABOUT, TOPICS

CHOICE, TEXT, ANSWER = "multiple_choice", "loglikelihood_rolling", "generate_until"
METRICS = {CHOICE: ("acc", "acc_norm"), TEXT: ("bits_per_byte",), ANSWER: ("exact_match",)}


@dataclass(frozen=True)
class Task:
    """rows: the name of the file that is asked. harness: what else stands in lm-evaluation-harness' file of it."""

    name: str
    kind: str
    rows: str
    harness: dict[str, Any]

    def harness_file(self, data: Path) -> dict[str, Any]:
        files = {"test": str(data / f"{self.rows}.jsonl")}
        if "fewshot_split" in self.harness and self.harness["fewshot_split"] != "test":
            files[self.harness["fewshot_split"]] = str(data / f"{self.rows}-shots.jsonl")
        metrics = [
            {"metric": metric, "aggregation": metric if self.kind == TEXT else "mean", "higher_is_better": self.kind != TEXT}
            for metric in METRICS[self.kind]
        ]  # fmt: skip
        return {
            "task": self.name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test",
            "output_type": self.kind, "metric_list": metrics, **self.harness,
        }  # fmt: skip

    def own_file(self, data: Path) -> dict[str, Any] | None:
        """The same questions in ptft's own words; None of one with solved examples, which ptft draws once and not for each row."""
        if "num_fewshot" in self.harness:
            return None
        files = {"task": self.name, "data": [str(data / f"{self.rows}.jsonl")], "metrics": list(METRICS[self.kind])}
        if self.kind == TEXT:
            return {**files, "kind": "likelihood", "template": self.harness["doc_to_target"]}
        own = {_OWN[key]: value for key, value in self.harness.items()}
        return {**files, "kind": "choices", **own}


_OWN = {
    "doc_to_text": "template", "doc_to_choice": "choices", "doc_to_target": "answer", "target_delimiter": "separator",
    "description": "description",
}  # fmt: skip
_TOPIC = {"doc_to_text": "Article: {{text}}\nTopic:", "doc_to_choice": list(TOPICS), "doc_to_target": "answer"}
_SHOTS = {"num_fewshot": 4, "fewshot_split": "train"}
_ENGLISH = {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "choices", "doc_to_target": "answer"}
_CHINESE = {
    "doc_to_text": "问：{{question}}\n答：", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}",
    "target_delimiter": "",
}  # fmt: skip
_READ = {"doc_to_text": "", "doc_to_target": "{{text}}"}
_STRIPPED = [{"name": "strip", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}]

TASKS = (
    Task("topic", CHOICE, "topic", {**_TOPIC, "description": "Topics of news articles.\n\n"}),
    Task("topic-4-shots", CHOICE, "topic", {**_TOPIC, **_SHOTS}),
    Task(
        "about", CHOICE, "topic",
        {"doc_to_text": "{{text}} ... This article is about", "doc_to_choice": list(ABOUT.values()), "doc_to_target": "{{about}}"},
    ),
    Task("reply-en", CHOICE, "reply-en", _ENGLISH),
    # the rows themselves are the pool: the question that is asked must not be among the shots
    Task("reply-en-4-shots", CHOICE, "reply-en", {**_ENGLISH, "num_fewshot": 4, "fewshot_split": "test"}),
    Task("reply-zh", CHOICE, "reply-zh", _CHINESE),
    Task("reply-zh-4-shots", CHOICE, "reply-zh", {**_CHINESE, **_SHOTS, "fewshot_config": {"sampler": "first_n"}}),
    Task("long", TEXT, "long", _READ),
    Task("short-en", TEXT, "short-en", _READ),
    Task("short-zh", TEXT, "short-zh", _READ),
    Task(
        "topic-said", ANSWER, "topic",
        {
            "doc_to_text": _TOPIC["doc_to_text"], "doc_to_target": "topic", **_SHOTS, "filter_list": _STRIPPED,
            "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 8, "do_sample": False},
        },
    ),
    Task(
        "reply-zh-said", ANSWER, "reply-zh",
        {
            "doc_to_text": _CHINESE["doc_to_text"], "doc_to_target": "reply", "target_delimiter": "", **_SHOTS,
            "generation_kwargs": {"until": ["\n", "。"], "max_gen_toks": 16, "do_sample": False},
        },
    ),
)  # fmt: skip


def write(data: Path, folder: Path) -> None:
    """Every task as FOLDER/harness/NAME.yaml, and as FOLDER/own/NAME.yaml where it has a form of ptft's."""
    for task in TASKS:
        for place, content in (("harness", task.harness_file(data)), ("own", task.own_file(data))):
            if content:
                file = folder / place / f"{task.name}.yaml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
