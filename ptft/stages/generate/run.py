"""`ptft generate`: text from a causal model or an encoder-decoder, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ptft.core.chat import encode_prompt, ensure_template, stop_ids
from ptft.core.contracts import best_of
from ptft.core.errors import InputError, UsageError
from ptft.core.models import Loaded
from ptft.core.prompting import encode_sources, prefix_of
from ptft.core.scoring import UNCUT, dtype_here, refuse_not_finite
from ptft.stages.generate.recipe import GenerateRecipe

UNFINISHED = "\ufffd"  # what decoding puts where a character's bytes are not all there


def generate(recipe: GenerateRecipe, model: str, prompt: str) -> Iterator[str]:
    """Pieces of text as they come; the same seed gives the same text.

    Ends at an end-of-text token (in a chat: end of turn), after `max_new_tokens`, or where the model's context is full.
    A model that learnt text to text is asked with the text before its source, which its tokenizer knows. Raises `InputError`
    for a folder whose model does not write, or a prompt that fills its context.
    """
    from ptft.core.models import load

    folder = best_of(Path(model))
    loaded = load(folder, dtype=dtype_here(folder))
    if loaded.kind not in ("causal", "seq2seq"):
        remedy = "name a causal checkpoint or an encoder-decoder: a pretrained one, or one fine-tuned from it"
        raise InputError(
            f"generate needs a model that writes, and this is a {loaded.kind} one", where=model, remedy=remedy
        )
    ids = _prompt_ids(recipe, loaded, prompt)
    pieces = _Pieces(loaded.tokenizer)
    for token in _tokens(recipe, loaded, ids):
        piece = pieces.push(token)
        if piece:
            yield piece
    if rest := pieces.rest():
        yield rest


def _prompt_ids(recipe: GenerateRecipe, loaded: Loaded, prompt: str) -> list[int]:
    tokenizer = loaded.tokenizer
    if recipe.chat and loaded.kind == "seq2seq":
        raise UsageError("an encoder-decoder has no chat template", remedy="leave out --chat")
    if recipe.chat:
        if not prompt.strip():
            raise UsageError("an empty message", remedy='ptft generate MODEL --chat "your message"')
        ensure_template(tokenizer)
        ids = encode_prompt(tokenizer, [{"role": "user", "content": prompt}])
    elif loaded.kind == "seq2seq" or prefix_of(tokenizer) is not None:
        (ids,), _ = encode_sources(tokenizer, [prompt], [UNCUT], causal=loaded.kind == "causal")
    else:
        ids = list(tokenizer(prompt)["input_ids"])
        if ids and ids[-1] == tokenizer.eos_token_id and not prompt.endswith(tokenizer.eos_token):
            ids.pop()  # some tokenizers end every text; this one is to go on
    begin = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), None)
    if not ids and begin is not None:
        ids = [begin]  # as after a document in training
    if not ids:
        raise UsageError("an empty prompt, and the tokenizer has no token to begin with", remedy="give a prompt")
    if len(ids) >= loaded.seq_len:
        what = f"the prompt is {len(ids):,} tokens long and the model takes {loaded.seq_len:,}"
        raise InputError(what, where=str(loaded.folder), remedy="shorten the prompt")
    return ids


def _tokens(recipe: GenerateRecipe, loaded: Loaded, ids: Sequence[int]) -> Iterator[int]:
    """Token ids one by one; what is already computed is kept in the cache."""
    import torch

    torch.manual_seed(recipe.seed)
    choose = _sampler(recipe)
    stops = _stops(loaded, recipe.chat)
    writing = _Writing(loaded, ids)
    seen = torch.tensor([writing.begin], device=loaded.model.device)
    fresh, cache = seen, None
    with torch.inference_mode():
        for _ in range(min(recipe.max_new_tokens, loaded.seq_len - len(writing.begin))):
            output = writing.step(fresh, cache)
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            refuse_not_finite(logits.cpu().numpy(), loaded)
            logits[:, writing.barred] = -torch.inf
            token = choose(seen, logits)
            if token in stops:
                return
            yield token
            fresh = torch.tensor([[token]], device=seen.device)
            seen = torch.cat([seen, fresh], dim=1)


class _Writing:
    """begin: what the model goes on from: the prompt, or what an encoder-decoder, which has read it, begins with. barred: tokens
    it never writes (Marian's padding).
    """

    def __init__(self, loaded: Loaded, ids: Sequence[int]) -> None:
        import torch

        self.model, self.begin, self.barred = loaded.model, list(ids), list[int]()
        self.given: dict[str, Any] = {}
        self.reads = "input_ids"
        if loaded.kind == "seq2seq":
            asked = torch.tensor([ids], device=loaded.model.device)
            with torch.inference_mode():
                self.given = {"encoder_outputs": loaded.model.get_encoder()(input_ids=asked)}
            self.reads, named = "decoder_input_ids", loaded.model.generation_config
            first = (named.decoder_start_token_id, named.forced_bos_token_id)
            self.begin = [token for token in first if token is not None] or [loaded.model.config.decoder_start_token_id]
            self.barred = [words[0] for words in named.bad_words_ids or () if len(words) == 1]

    def step(self, fresh: Any, cache: Any) -> Any:
        return self.model(**{self.reads: fresh}, **self.given, past_key_values=cache, use_cache=True)


def _sampler(recipe: GenerateRecipe) -> Any:
    """Chooses a token from what was seen, shape (1, length), and logits, shape (1, vocabulary)."""
    import torch
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    steps = LogitsProcessorList()
    if recipe.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(recipe.repetition_penalty))
    if recipe.temperature:
        steps.append(TemperatureLogitsWarper(recipe.temperature))
        if recipe.top_p < 1.0:
            steps.append(TopPLogitsWarper(recipe.top_p))

    def choose(seen: Any, logits: Any) -> int:
        scores = steps(seen, logits)
        if not recipe.temperature:
            return int(scores.argmax(-1))
        return int(torch.multinomial(scores.softmax(-1), 1))

    return choose


def _stops(loaded: Loaded, chat: bool) -> set[int]:
    named = loaded.model.generation_config.eos_token_id
    own = named if isinstance(named, list) else [named]
    found = {*own, loaded.tokenizer.eos_token_id, *(stop_ids(loaded.tokenizer) if chat else ())}
    return {index for index in found if index is not None}


class _Pieces:
    """Tokens to text, a whole character at a time: a Chinese character can be three tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.start = 0  # tokens before this are not decoded again; those from here give the context for spaces
        self.done = 0  # tokens before this have been given out

    def push(self, token: int) -> str:
        self.ids.append(token)
        whole = self._decode(self.start, len(self.ids))
        if whole.endswith(UNFINISHED):
            return ""
        return self._give(whole)

    def rest(self) -> str:
        """What is left at the end, without the bytes that make no character."""
        return self._give(self._decode(self.start, len(self.ids)))

    def _give(self, whole: str) -> str:
        piece = whole[len(self._decode(self.start, self.done)) :]
        self.start, self.done = self.done, len(self.ids)
        return piece.replace(UNFINISHED, "")

    def _decode(self, start: int, end: int) -> str:
        return str(self.tokenizer.decode(self.ids[start:end], skip_special_tokens=True))
