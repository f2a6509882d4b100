"""Questions and answers as token ids."""

from __future__ import annotations

import tiny

from ptft.stages.eval.task.asking import encode_pairs


def test_a_tokenizer_that_ends_texts_does_not_end_questions() -> None:
    from tokenizers.processors import TemplateProcessing

    plain, ending = tiny.tokenizer(), tiny.tokenizer()
    ending.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", ending.convert_tokens_to_ids("<|endoftext|>"))]
    )
    contexts, ends = ["the model learns", "the model learns"], [" text", " data"]
    assert encode_pairs(ending, contexts, ends) == encode_pairs(plain, contexts, ends)
