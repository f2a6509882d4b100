"""A causal model on conversations: it answers greedily, and its answer is compared with the last message of the assistant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ptft.core.encoding import IGNORED, encode_chat, encode_prompt, ensure_template, stop_ids
from ptft.core.errors import InputError
from ptft.core.examples import Message, Shape, to_messages
from ptft.core.metrics import names
from ptft.core.metrics.text import bleu, chrf, rouge_of, rouge_rows
from ptft.core.models import Loaded
from ptft.core.progress import Progress, Step
from ptft.core.rows import Row, RowWriter
from ptft.core.scoring import UNCUT, Response, by_length, score_responses
from ptft.stages.eval.language import likelihoods, sums
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.tasks import Measured, Score, require_rows


def answer_problem(loaded: Loaded, shape: Shape, row: Row) -> str | None:
    """Why a row cannot be measured: no answer to compare with, or a conversation that the template refuses."""
    from jinja2 import TemplateError

    asked, reference = split_answer(to_messages(row.data, shape))
    if not reference.strip():
        return "an empty reference: the last message of the assistant has no content"
    if not asked:
        return "nothing is asked before the last message of the assistant"
    try:
        response_of(loaded, asked, reference)
    except (TemplateError, InputError) as error:
        return f"the chat template refuses it: {error}"
    return None


def split_answer(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """What comes before the assistant's last message, and that message."""
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return list(messages[:last]), messages[last]["content"]


def response_of(loaded: Loaded, asked: Sequence[Message], reference: str) -> Response:
    """The conversation with the reference as its answer, as in training: the last run of tokens that are learnt."""
    chat = encode_chat(loaded.tokenizer, [*asked, {"role": "assistant", "content": reference}], UNCUT)
    learnt = [index for index, label in enumerate(chat.labels) if label != IGNORED]
    if not learnt:
        raise InputError("it leaves nothing of the answer", remedy="mend the chat template")
    first = end = learnt[-1]
    while first and chat.labels[first - 1] != IGNORED:
        first -= 1
    return Response(chat.ids[: end + 1], first, len(reference.encode()))


def measure(
    loaded: Loaded, shape: Shape, rows: Iterator[Row], metrics: tuple[str, ...], recipe: EvalRecipe, writer: RowWriter,
    progress: Progress,
) -> Measured:  # fmt: skip
    """Answer every row (where BLEU or ROUGE is asked for) and score the reference; write a row each."""
    kept = list(rows)
    require_rows(len(kept))
    pairs = [split_answer(to_messages(row.data, shape)) for row in kept]
    context = min(loaded.seq_len, recipe.max_seq_len or loaded.seq_len)
    written: list[dict[str, Any]] = [
        {"id": row.data["id"], "input": asked, "reference": reference}
        for row, (asked, reference) in zip(kept, pairs, strict=True)
    ]
    found: dict[str, Score] = {}
    settings: dict[str, Any] = {"context": context}
    compared = tuple(name for name in metrics if name in names.TEXTS)
    if compared:
        found |= _answer(loaded, written, compared, context, recipe, settings, progress)
    likely = tuple(name for name in metrics if name in names.LIKELIHOODS)
    if likely:
        responses = [response_of(loaded, asked, reference) for asked, reference in pairs]
        scores = score_responses(loaded, responses, context, recipe.batch_size)
        of = "responses, their end of turn included"
        found |= {name: {**score, "of": of} for name, score in likelihoods(scores, likely, recipe).items()}
        for row, score in zip(written, scores, strict=True):
            row.update(sums(score))
    for row in written:
        writer.write(row)
    return Measured({name: found[name] for name in metrics}, len(kept), settings)


def _answer(
    loaded: Loaded, rows: list[dict[str, Any]], metrics: tuple[str, ...], context: int, recipe: EvalRecipe,
    settings: dict[str, Any], progress: Progress,
) -> dict[str, Score]:  # fmt: skip
    """Answer every row and compare; the answer and the row's own ROUGE are put into it."""
    room = min(recipe.max_new_tokens, max(1, context // 2))
    prompts = [encode_prompt(loaded.tokenizer, row["input"]) for row in rows]
    cut = sum(len(prompt) > context - room for prompt in prompts)
    if cut:
        progress.warn(f"{cut:,} prompts leave no room for {room:,} new tokens and lost their beginning")
    settings |= {"max_new_tokens": room, "decoding": "greedy", "prompts_cut": cut}
    with progress.step("answering", total=len(rows)) as step:
        answers = generate(loaded, [prompt[-(context - room) :] for prompt in prompts], room, recipe.batch_size, step)
    references = [row["reference"] for row in rows]
    found, own = compare(answers, references, metrics, recipe.bootstrap)
    for row, answer, scores in zip(rows, answers, own, strict=True):
        row.update({"prediction": answer, **scores})
    return found


def compare(
    predictions: Sequence[str], references: Sequence[Any], metrics: tuple[str, ...], resamples: int
) -> tuple[dict[str, Score], list[dict[str, float]]]:
    """BLEU, chrF and ROUGE of predictions against references; and every row's own ROUGE."""
    found: dict[str, Score] = {}
    if "bleu" in metrics:
        found["bleu"] = bleu(predictions, references, resamples=resamples)
    if "chrf" in metrics:
        found["chrf"] = chrf(predictions, references, resamples=resamples)
    rouges = tuple(name for name in metrics if name.startswith("rouge"))
    if not rouges:
        return found, [{} for _ in predictions]
    rows, tokenizer = rouge_rows(predictions, references, rouges)
    own = [dict(zip(rouges, row, strict=True)) for row in rows.tolist()]
    return found | rouge_of(rows, tokenizer, rouges, resamples=resamples), own


def generate(loaded: Loaded, prompts: Sequence[list[int]], room: int, batch_size: int, step: Step) -> list[str]:
    """Greedy answers of at most `room` tokens, in order, without surrounding spaces."""
    import torch
    from transformers import GenerationConfig

    tokenizer, device = loaded.tokenizer, loaded.model.device
    stops = all_stop_ids(loaded)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (stops or [0])[0]
    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=room, eos_token_id=stops or None, pad_token_id=pad
    )
    answers = [""] * len(prompts)
    for chosen in by_length([len(prompt) for prompt in prompts], batch_size):
        rows = [prompts[index] for index in chosen]
        longest = len(rows[0])
        # padded on the left, so that every row goes on from its own last token
        batch = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
        with torch.inference_mode():
            made = loaded.model.generate(input_ids=batch, attention_mask=mask, generation_config=config)
        texts = tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text.strip()
        step.advance(len(chosen))
    return answers


def all_stop_ids(loaded: Loaded) -> list[int]:
    """What ends an answer: for the chat template, and for the model's own settings."""
    named = loaded.model.generation_config.eos_token_id
    own = named if isinstance(named, list) else [] if named is None else [named]
    return sorted({*stop_ids(loaded.tokenizer), *own})


def require_template(loaded: Loaded, progress: Progress) -> None:
    if ensure_template(loaded.tokenizer):
        progress.warn("the tokenizer has no chat template: using the plain one (User: ... Assistant: ...)")
