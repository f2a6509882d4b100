"""The baseline that a small labelled set should be judged by: TF-IDF and logistic regression, on the very rows `ptft` learns from.

python recipes/demo/tfidf.py TRAIN.jsonl TEST.jsonl --per-label 4 --seed 1 > predictions.jsonl
"""

import argparse
import json
import sys
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ptft.core.examples import sample_per_label
from ptft.core.files import expand
from ptft.core.formats import read_rows
from ptft.core.rows import Row


def rows_of(path: str) -> list[Row]:
    return [row for row in read_rows(expand([path])) if isinstance(row, Row)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--per-label", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train, test = rows_of(str(given.train)), rows_of(str(given.test))
    if given.per_label:
        train = sample_per_label(train, given.per_label, given.seed)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, stop_words="english"), LogisticRegression(C=10, max_iter=1000)
    )
    model.fit([row.data["text"] for row in train], [row.data["label"] for row in train])
    guesses = model.predict([row.data["text"] for row in test])
    for row, guess in zip(test, guesses, strict=True):
        sys.stdout.write(
            json.dumps({"id": row.data["id"], "prediction": str(guess), "reference": row.data["label"]}) + "\n"
        )


if __name__ == "__main__":
    main()
