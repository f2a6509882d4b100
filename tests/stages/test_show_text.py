"""`ptft show A B --text FILE`: tokenizers are compared on the user's own text."""

from __future__ import annotations

import json

import pytest
import tiny

from ptft.core.errors import InputError
from ptft.stages.show.run import described


def test_the_figures_are_of_the_given_text(tmp_path):
    for name in ("a", "b"):
        tiny.tokenizer().save_pretrained(tmp_path / name)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "今天天气很好"}, ensure_ascii=False) + "\n")
    _, facts = described([tmp_path / "a", tmp_path / "b"], str(rows))
    assert [one["vocabulary"] for one in facts] == [400, 400]
    ids = tiny.tokenizer()("今天天气很好")["input_ids"]
    assert facts[0]["tokens per character, Chinese"] == pytest.approx(len(ids) / 6)
    rows.write_text('{"other": 1}\n')
    with pytest.raises(InputError, match="no row has a text"):
        described([tmp_path / "a"], str(rows))
