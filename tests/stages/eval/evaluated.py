"""Small results of every kind of predictions, written by hand: what scores.json and predictions.jsonl hold."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]
LABELS = ("business", "体育 <b>sport</b>", "tech|科技")


def scores_of(kind: str, metrics: dict[str, Any], rows: Rows, **more: Any) -> dict[str, Any]:
    """scores.json of rows. metrics: a score, or the whole entry."""
    held = {
        name: entry if isinstance(entry, dict) else {"score": entry, "ci95": sorted([entry * 0.95, entry * 1.05])}
        for name, entry in metrics.items()
    }
    return {
        "metrics": held, "n": len(rows), "rejected": 0, "kind": kind, "task": kind, "shape": "prediction",
        "model": {"name": "tiny", "kind": "classifier", "run": "bd7def51748ca1f3", "parameters": 926981},
        "data": [{"name": "test.jsonl", "hash": "0123456789abcdef", "rows": len(rows)}],
        "settings": {"bootstrap": 1000, "dtype": "float32", "context": 256, "decoding": {"beams": 1, "stop": ["\n"]}, "prompt": "a1b2"},
        **more,
    }  # fmt: skip


def labels(count: int = 60) -> tuple[dict[str, Any], Rows]:
    """One label a row, with probabilities; every seventh row is wrong, the later the surer."""
    rows: Rows = []
    for place in range(count):
        wanted = LABELS[place % 3]
        made = LABELS[(place + 1) % 3] if place % 7 == 0 else wanted
        sure = 0.5 + 0.4 * place / count
        chances = {label: sure if label == made else (1 - sure) / 2 for label in LABELS}
        texts = (f"The shares of company {place} rose. ", f"第{place}场比赛昨晚结束，主队以三比一获胜。")
        entry = {
            "id": f"row-{place}",
            "input": texts[place % 2] * 12,
            "reference": wanted,
            "prediction": made,
            "probabilities": chances,
        }
        rows.append({**entry, "loss": 0.1, "by": {"lang": ("en", "zh")[place % 2]}})
    counts = [[sum(row["reference"] == a and row["prediction"] == b for row in rows) for b in LABELS] for a in LABELS]
    per_class = {
        label: {"precision": 0.9, "recall": 0.8 + place / 20, "f1": 0.85 + place / 50, "support": sum(counts[place])}
        for place, label in enumerate(LABELS)
    }
    metrics = {
        "accuracy": {"score": 0.85, "ci95": [0.7667, 0.9333]},
        "f1": {"score": 0.8492, "ci95": [0.7512, 0.9321], "average": "macro", "micro": 0.85, "per_class": per_class},
        "mcc": {"score": 0.7753, "ci95": [0.65, 0.9]},
        "auroc": {"score": None, "ci95": None, "why": "only one label occurs"},
        "log_loss": {"score": 0.4321, "ci95": [0.3511, 0.5402]},
        "ece": {"score": 0.1034, "ci95": [0.06, 0.19]},
    }
    bins = [
        {
            "low": place / 15,
            "high": (place + 1) / 15,
            "n": 5 + place,
            "confidence": (place + 0.5) / 15,
            "accuracy": place / 15,
        }
        for place in range(6, 15)
    ]
    slices = {
        "lang": {
            "en": {"n": 30, "metrics": {"accuracy": {"score": 0.9, "ci95": [0.8, 0.97]}, "f1": {"score": 0.89, "ci95": [0.78, 0.96]}}},
            "zh": {"n": 30, "metrics": {"accuracy": {"score": 0.8, "ci95": [0.63, 0.93]}, "f1": {"score": None, "ci95": None}}},
        }
    }  # fmt: skip
    scores = scores_of(
        "labels", metrics, rows, figures={"confusion": {"labels": list(LABELS), "rows_are": "references", "counts": counts}, "calibration": {"bins": bins}},
        slices=slices, comparison=comparison(), overlap=overlap(), rejected=2,
    )  # fmt: skip
    return scores, rows


def comparison() -> dict[str, Any]:
    return {
        "with": {"name": "baseline <i>", "run": "00ff"}, "n": 58, "aligned_by": "id", "only_here": 2, "only_there": 1,
        "warnings": ["2 rows are in this run alone and are not compared: 'a', 'b'"],
        "metrics": {
            "accuracy": {"score": 0.85, "other": 0.78, "difference": 0.07, "ci95": [0.0172, 0.1207], "p": 0.0123},
            "log_loss": {"score": 0.4321, "other": 0.4, "difference": 0.0321, "ci95": [0.01, 0.05], "p": 0.0004},
            "f1": {"score": 0.8492, "other": 0.85, "difference": -0.0008, "ci95": [-0.03, 0.03], "p": 0.9},
            "auroc": {"score": None, "other": 0.9, "difference": None, "ci95": None, "p": None},
        },
        "mcnemar": {"gained": 6, "lost": 2, "test": "exact", "statistic": None, "p": 0.2891},
        "flips": {
            "metric": "accuracy", "gained": 6, "lost": 2,
            "examples": [
                {"id": "row-9", "change": "gained", "input": "第9场比赛昨晚结束", "reference": LABELS[0], "prediction": LABELS[0],
                 "other": LABELS[1], "score": 1.0, "other_score": 0.0},
            ],
        },
    }  # fmt: skip


def overlap() -> dict[str, Any]:
    shared = {
        "id": "row-3",
        "file": "corpus.jsonl:7",
        "text": "the shares of company three rose by a third on the day",
        "share": 0.71,
    }
    return {
        "words": 13, "checked_bytes": 4821004, "complete": True, "files": ["corpus.jsonl"], "missing": [], "checked_rows": 60, "unjudged": 0,
        "rows": 3, "share": 0.05, "mostly": 1, "same_files": [], "examples": [shared],
        "warning": "3 of 60 rows (5.0%) share 13 words in a row with the training text",
    }  # fmt: skip


def many_labels() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "a", "input": "Ein Text", "reference": ["x", "y"], "prediction": ["x"], "loss": 0.3},
        {"id": "b", "input": "一篇文章", "reference": ["y"], "prediction": ["x", "z"], "loss": 0.9},
        {"id": "c", "input": "fine", "reference": [], "prediction": [], "loss": 0.0},
    ]
    return scores_of("many-labels", {"f1": 0.5, "hamming_loss": 0.4}, rows), rows


def numbers() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": str(place), "input": f"pair {place}", "reference": 2.0, "prediction": 2.0 + place} for place in range(3)
    ]
    return scores_of("numbers", {"pearson": -0.25, "mse": 1.6667, "r2": -3.5}, rows), rows


def tags() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "zh", "input": ["李", "雷", "在", "北", "京"], "reference": ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"],
         "prediction": ["B-PER", "O", "O", "B-ORG", "I-ORG"], "entity_f1": 0.0},
        {"id": "en", "input": ["Jim", "lives"], "reference": ["B-PER", "O"], "prediction": ["B-PER", "O"], "entity_f1": 1.0},
    ]  # fmt: skip
    types = {"PER": {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 2}}
    entry = {"score": 0.5, "ci95": [0.0, 1.0], "scheme": "strict IOB2", "per_type": types}
    return scores_of("tags", {"entity_f1": entry, "token_accuracy": 0.5714}, rows), rows


def spans() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "q1", "input": {"question": "Who?", "context": "Ada wrote it. " * 40}, "reference": ["Ada", "Ada Lovelace"],
         "prediction": "Charles", "exact_match": 0.0, "token_f1": 0.0},
        {"id": "q2", "input": {"question": "谁？", "context": "王小明来了。"}, "reference": ["王小明"], "prediction": "王小明来了",
         "exact_match": 0.0, "token_f1": 0.75},
        {"id": "q3", "input": {"question": "When?", "context": "Never."}, "reference": [], "prediction": "", "exact_match": 1.0, "token_f1": 1.0},
    ]  # fmt: skip
    return scores_of("spans", {"exact_match": 0.3333, "token_f1": 0.5833}, rows), rows


def texts() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "t1", "input": "Translate: the cat sat on the mat", "reference": "那只猫坐在垫子上。", "prediction": "那只狗坐在大垫子上。",
         "rougeL": 0.8, "bleu": 41.0},
        {"id": "t2", "input": "Summarise", "reference": "Shares of the bank rose sharply on Monday", "prediction": "Shares in the bank fell on Monday",
         "rougeL": 0.6, "bleu": 20.0},
        {"id": "t3", "input": "Same", "reference": ["no", "yes"], "prediction": "yes", "rougeL": 1.0, "bleu": 100.0},
        {"id": "t4", "input": "long", "reference": "word " * 3000, "prediction": "字" * 9000, "rougeL": 0.0, "bleu": 0.0},
    ]  # fmt: skip
    bleu = {
        "score": 34.3051,
        "ci95": [31.02, 37.9],
        "signature": "nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0",
    }
    ter = {"score": 120.4, "ci95": None}
    return scores_of("texts", {"rougeL": 0.6, "bleu": bleu, "ter": ter}, rows), rows


def answers() -> tuple[dict[str, Any], Rows]:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好吗？"}]
    rows = [
        {
            "id": "c1",
            "input": chat,
            "reference": "我很好。",
            "prediction": "不好。",
            "nll": 12.5,
            "tokens": 4,
            "bytes": 12,
            "chrf": 30.1,
        }
    ]
    return scores_of("answers", {"chrf": 30.1, "perplexity": 22.76}, rows), rows


def generations() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "g1", "input": "Once", "prediction": "upon a time upon a time upon a time", "repetition": 0.6},
        {"id": "g2", "input": "Once", "prediction": "there was a king", "repetition": 0.0},
    ]
    return scores_of("generations", {"distinct1": 0.5, "repetition": 0.3}, rows), rows


def language() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "easy", "input": "the the the", "nll": 4.0, "tokens": 3, "bytes": 11},
        {"id": "hard", "input": "魑魅魍魉", "nll": 50.0, "tokens": 8, "bytes": 12},
    ]
    return scores_of("language", {"perplexity": 134.6, "bits_per_byte": 3.386}, rows), rows


def choices() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "m1", "input": "Topic?", "reference": "sport", "prediction": "tech", "answer": 0, "loglikelihoods": [-9.0, -2.0], "lengths": [5, 4]},
        {"id": "m2", "input": "Topic?", "reference": "tech", "prediction": "tech", "answer": 1, "loglikelihoods": [-9.0, -2.0], "lengths": [5, 4]},
        {"id": "m3", "input": "题目？", "reference": "体育", "prediction": "科技", "answer": 0, "loglikelihoods": [-3.0, -2.0], "lengths": [2, 2]},
    ]  # fmt: skip
    return scores_of("choices", {"acc": 0.3333, "acc_norm": 0.3333}, rows), rows


def preferences() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "p1", "input": ["He is a nurse.", "She is a nurse."], "loglikelihoods": [-20.0, -15.0]},
        {"id": "p2", "input": ["他是护士。", "她是护士。"], "loglikelihoods": [-20.0, -19.0]},
    ]
    return scores_of("preferences", {"preference": 0.5}, rows), rows


def rankings() -> tuple[dict[str, Any], Rows]:
    rows = [
        {"id": "r1", "input": "query", "reference": ["d3"], "prediction": ["d1", "d2", "d3"]},
        {"id": "r2", "input": "query", "reference": ["d9"], "prediction": ["d1", "d2", "d3"]},
        {"id": "r3", "input": "query", "reference": ["d1"], "prediction": ["d1", "d2", "d3"]},
    ]
    return scores_of("rankings", {"top1": 0.3333, "map": 0.4444}, rows), rows


def boxes() -> tuple[dict[str, Any], Rows]:
    cat = {"label": "cat", "box": [0, 0, 10, 10]}
    rows = [
        {"id": "i1", "input": "1.jpg", "reference": [cat], "prediction": [{**cat, "box": [1, 0, 10, 10], "score": 0.9}]},
        {"id": "i2", "input": "2.jpg", "reference": [cat, {**cat, "label": "狗"}], "prediction": [{**cat, "box": [50, 50, 5, 5], "score": 0.8}]},
    ]  # fmt: skip
    return scores_of(
        "boxes",
        {"box_map": {"score": 0.4, "ci95": [0.1, 0.7], "per_class": {"cat": 0.8, "狗": 0.0}}, "box_map50": 0.5},
        rows,
    ), rows


EVERY = {
    "labels": labels, "many-labels": many_labels, "numbers": numbers, "tags": tags, "spans": spans, "texts": texts, "answers": answers,
    "generations": generations, "language": language, "choices": choices, "preferences": preferences, "rankings": rankings, "boxes": boxes,
}  # fmt: skip
