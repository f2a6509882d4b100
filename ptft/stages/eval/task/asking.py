"""A task's question as text or as a conversation, and as token ids with what may follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ptft.core.chat import ChatEncoder, ensure_template
from ptft.core.continuations import Pair
from ptft.core.encoding import as_text, plain_ids
from ptft.core.errors import InputError
from ptft.core.examples import Message
from ptft.core.models import Loaded
from ptft.core.rows import Row
from ptft.core.scoring import prefix_id
from ptft.stages.eval.recipe import EvalRecipe
from ptft.stages.eval.task.distractors import Distractors
from ptft.stages.eval.task.model import Example, Task, example_of, separator_after
from ptft.stages.eval.task.shots import Shots
from ptft.stages.eval.task.template import Unfit

Asked = str | list[Message]


@dataclass(frozen=True)
class Asking:
    """A task, asked of one model: solved examples, the question, and the chat template where it is used."""

    loaded: Loaded
    task: Task
    shots: Shots
    distractors: Distractors

    @property
    def chat(self) -> bool:
        return self.task.chat

    @classmethod
    def of(cls, loaded: Loaded, task: Task, recipe: EvalRecipe, shots_rows: Sequence[Row]) -> Asking:
        """What the recipe says goes before what the task says."""
        chat = task.chat if recipe.chat == "auto" else recipe.chat == "yes"
        if chat:
            ensure_template(loaded.tokenizer)
        count = task.shots if recipe.shots < 0 else recipe.shots
        task = replace(task, chat=chat)
        drawn = Distractors(task, shots_rows, recipe.seed)
        return cls(loaded, task, Shots(task, count, shots_rows, recipe.seed, drawn), drawn)

    def problem(self, row: Row) -> str | None:
        from jinja2 import TemplateError

        try:
            example = self.example(row)
            asked = self.asked(row, example)
            if self.chat:
                self._renderer.renderer.prompt(asked[0])  # type: ignore[arg-type]
        except Unfit as error:
            return str(error)
        except TemplateError as error:
            return f"the chat template refuses it: {error}"
        return None

    def example(self, row: Row) -> Example:
        return example_of(self.task, self.distractors.added_to(row.data))

    def asked(self, row: Row, example: Example) -> list[Asked]:
        """What a model reads before it answers: one for each of the example's contexts."""
        shots = self.shots.of(row)
        description = self.task.description.text(row.data)
        if self.chat:
            return [_conversation(description, shots, context) for context in example.contexts]
        before = description + "".join(map(self._solved, shots))
        return [before + context for context in example.contexts]

    def _solved(self, shot: Example) -> str:
        if not shot.solution:
            return shot.question
        separator = separator_after(self.task, shot.question)
        return f"{shot.question}{separator}{shot.solution}{self.task.shots_separator}"

    # ------------------------------------------------------------ token ids

    @cached_property
    def _renderer(self) -> ChatEncoder:
        return ChatEncoder(self.loaded.tokenizer)

    def prompts(self, asked: Sequence[Asked]) -> list[list[int]]:
        """Token ids of what is asked, begun as the tokenizer begins texts."""
        return [list(ids) for ids in self._contexts(asked)]

    def pairs(self, asked: Sequence[Asked], continuations: Sequence[str]) -> list[Pair]:
        """(context, continuation) as token ids. In a chat they are tokenized apart, as the model was taught to answer."""
        if self.chat and not self.task.harness:
            ends = plain_ids(self.loaded.tokenizer, continuations)
            return list(zip(self._contexts(asked), ends, strict=True))
        return encode_pairs(self.loaded.tokenizer, self._texts(asked), continuations, as_is=self.task.harness)

    def _contexts(self, asked: Sequence[Asked]) -> list[list[int]]:
        if self.chat and not self.task.harness:
            return [self._renderer.prompt(messages) for messages in asked]  # type: ignore[arg-type]
        return [
            ids or _begin(self.loaded.tokenizer)
            for ids in _encoded(self.loaded.tokenizer, self._texts(asked), self.task.harness)
        ]

    def _texts(self, asked: Sequence[Asked]) -> list[str]:
        """The harness writes a chat as text, and tokenizes that."""
        make = self.loaded.tokenizer.apply_chat_template
        return [
            text if isinstance(text, str) else make(text, tokenize=False, add_generation_prompt=True) for text in asked
        ]


def _conversation(description: str, shots: Sequence[Example], question: str) -> list[Message]:
    before = [{"role": "system", "content": description}] if description else []
    for shot in shots:
        before += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.solution}]
    return [*before, {"role": "user", "content": question}]


def encode_pairs(
    tokenizer: Any, contexts: Sequence[str], continuations: Sequence[str], *, as_is: bool = False
) -> list[Pair]:
    """Each context and its continuation tokenized as one text and cut where the context ends, as lm-evaluation-harness does.

    White space at the end of a context goes to its continuation: it is one token with the word behind it. An empty context is
    the token that begins texts. as_is: text that spells a special token becomes one.
    """
    bare = [context.rstrip() for context in contexts]
    ends = [context[len(text) :] + end for context, text, end in zip(contexts, bare, continuations, strict=True)]
    known = dict(zip(unique := sorted(set(bare)), _encoded(tokenizer, unique, as_is), strict=True))
    whole = _encoded(tokenizer, [text + end for text, end in zip(bare, ends, strict=True)], as_is)
    inner = _encoded(tokenizer, ends, as_is, special=False) if "" in known else ends
    return [
        _split(known[text], ids) if text else _after_nothing(tokenizer, list(alone))  # type: ignore[arg-type]
        for text, ids, alone in zip(bare, whole, inner, strict=True)
    ]


def _split(context: list[int], whole: list[int]) -> Pair:
    """A continuation has a token at least, also where the context's last one grew."""
    return (context, whole[len(context) :]) if len(whole) > len(context) else (whole[:-1], whole[-1:])


def _after_nothing(tokenizer: Any, ids: list[int]) -> Pair:
    begin = _begin(tokenizer)
    return (ids[:1], ids[1:]) if ids[:1] == begin and len(ids) > 1 else (begin, ids)


def _begin(tokenizer: Any) -> list[int]:
    found = prefix_id(tokenizer)
    if found is None:
        remedy = "give the task a template that is not empty, or set bos_token in tokenizer_config.json"
        raise InputError("nothing stands before an answer, and the tokenizer has no token to begin with", remedy=remedy)
    return [found]


def _after(tokenizer: Any) -> int:
    """How many special tokens a tokenizer puts after a text: a question that is to be answered has not ended."""
    marks = list(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"])
    return marks[::-1].index(0) if 0 in marks else 0


def harness_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Texts as lm-evaluation-harness tokenizes them."""
    return _encoded(tokenizer, texts, as_is=True)


def _encoded(tokenizer: Any, texts: Sequence[str], as_is: bool, *, special: bool = True) -> list[list[int]]:
    """With the special tokens that the tokenizer puts around a text, unless the text begins with one already."""
    if not texts:
        return []
    if not as_is:
        made = tokenizer(list(texts), add_special_tokens=special, verbose=False, **as_text(tokenizer))["input_ids"]
        after = _after(tokenizer) if special else 0
        return [list(ids[: len(ids) - after]) for ids in made]
    begin = prefix_id(tokenizer)
    spelt = "" if begin is None else tokenizer.decode([begin])
    made = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    begun = [index for index, text in enumerate(texts) if special and spelt and text.startswith(spelt)]
    for index in begun:
        made[index] = tokenizer(texts[index], add_special_tokens=False)["input_ids"]
    return [list(ids) for ids in made]
