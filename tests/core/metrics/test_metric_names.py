"""Names of metrics: groups, misspellings, limits."""

from __future__ import annotations

from ptft.core.metrics import names


def test_names() -> None:
    assert names.expand(["rouge", "f1", "rouge1"]) == ("rouge1", "rouge2", "rougeL", "rougeLsum", "f1")
    assert names.unknown(["f1", "blue"]) == ["no metric 'blue'; did you mean 'bleu'?"]
    assert names.limits("f1=90%, bleu=20", "gate") == ({"f1": 0.9, "bleu": 20.0}, [])
    assert len(names.limits("f1,acuracy=1,rouge=1", "gate")[1]) == 3
