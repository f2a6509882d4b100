"""Learning merges, and writing the tokenizer as Hugging Face's libraries read it.

The vocabulary: special tokens, those of the chat template and the user's, reserved ones, the 256 bytes, the merges, and as many more
reserved ones as make it a multiple. No merge makes a special token, and text that spells one is not one where the caller sets
`encode_special_tokens` (`tokenizers`) or `split_special_tokens=True` (transformers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ptft.core.chat_setup import checked
from ptft.core.chat_templates import ChatFormat
from ptft.core.progress import Progress, Silent
from ptft.stages.tokenizer.presets import SPECIAL, cut, untrained
from ptft.stages.tokenizer.recipe import BYTES, TokenizerRecipe


def special_tokens(recipe: TokenizerRecipe, chat: ChatFormat) -> list[str]:
    """All but the reserved ones, in the order of their ids."""
    return list(dict.fromkeys([*SPECIAL.values(), *chat.tokens, *recipe.special_tokens]))


def wanted_size(recipe: TokenizerRecipe) -> int:
    """The size asked for, rounded up to the multiple: merges fill it, not padding."""
    return -(-recipe.vocab_size // recipe.pad_to) * recipe.pad_to


def learnt(recipe: TokenizerRecipe, chat: ChatFormat, texts: Iterator[list[str]], progress: Progress) -> Any:
    """A `tokenizers.Tokenizer`, its size a multiple of `pad_to`. The same texts, in whatever order, give the same one."""
    from tokenizers import AddedToken, pre_tokenizers, trainers

    tokenizer, size = untrained(recipe.preset, recipe.digits), wanted_size(recipe)
    named = [*special_tokens(recipe, chat), *map(_reserved, range(recipe.reserved))]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=recipe.min_frequency,
        special_tokens=[AddedToken(token, lstrip=token == SPECIAL["mask_token"], special=True) for token in named],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = cut(recipe.preset, recipe.digits)
    found = tokenizer.get_vocab_size()
    more = range(recipe.reserved, recipe.reserved + -found % recipe.pad_to)
    tokenizer.add_special_tokens([AddedToken(_reserved(number), special=True) for number in more])
    _say_size(recipe, found, tokenizer.get_vocab_size(), progress)
    return tokenizer


def _reserved(number: int) -> str:
    return f"<|reserved_{number}|>"


def _say_size(recipe: TokenizerRecipe, found: int, padded: int, progress: Progress) -> None:
    wanted = wanted_size(recipe)
    if found < wanted:
        filled = f"; {padded - found} reserved ones make it {padded:,}" if padded > found else ""
        progress.warn(
            f"the text yields {found:,} tokens, fewer than --vocab-size {recipe.vocab_size:,}: no further pair occurs "
            f"{recipe.min_frequency} times{filled}"
        )
    elif wanted != recipe.vocab_size:
        progress.note(f"the vocabulary has {wanted:,} tokens: {recipe.vocab_size:,} rounded up to a multiple of pad_to")


def wrapped(tokenizer: Any, chat: ChatFormat) -> Any:
    """The tokenizer as a class of transformers, with its special tokens and its template."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL["eos_token"],  # GPT-2's way: the text before begins the text after; never added on its own
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(chat.tokens),
        **SPECIAL,
    )
    made.chat_template = chat.template
    return made


def try_template(recipe: TokenizerRecipe, chat: ChatFormat, template_from: str) -> list[str]:
    """What to warn of in a template, before anything is learnt. Raises `InputError` where it is wrong."""
    bytes_alone = replace(recipe, vocab_size=BYTES, pad_to=1)
    return checked(wrapped(learnt(bytes_alone, chat, iter(()), Silent()), chat), template_from)
