"""A tokenizer learns more tokens from text. Its old tokens, their ids and their merges stay as they are.

Byte-level BPE goes on where its training stopped: the text's words, as the old merges leave them, are what the next merges are counted
in. New merges come after all old ones, so the new tokenizer does what the old one did and then merges more. WordPiece gets whole words.
A new token's row of the embeddings begins as the mean of those of the old tokens it replaces (Gee et al. 2022, "Fast vocabulary
transfer"), so that the model reads and writes it about as it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ptft.core.errors import InputError
from ptft.core.files import atomic_write

LONGEST = 24  # bytes of a new token: eight Han characters; longer ones are phrases that one source repeats
RARE = 2  # what occurs less often is not learnt
FIRST_SYMBOL = 0x10000  # the character that stands for token 0: from here on none is white space
AT_ONCE = 10_000  # repeats of a word in one string
FILE = "tokenizer.json"

Json = dict[str, Any]


@dataclass(frozen=True)
class Added:
    """Tokens that an extended tokenizer has more, by id. pieces: the old tokens that each of them replaces, one at least."""

    ids: tuple[int, ...] = ()
    pieces: tuple[tuple[int, ...], ...] = ()


def refuse_unextendable(tokenizer: Path) -> None:
    """Raise `InputError` for a tokenizer whose kind cannot be extended: any but byte-level BPE and WordPiece."""
    _kind(_described(tokenizer), tokenizer)


def extend(tokenizer: Path, texts: Iterable[str], count: int) -> int:
    """Add up to `count` tokens to a tokenizer's folder, in place; returns how many the text yields.

    The same texts give the same tokens. Raises `InputError` as `refuse_unextendable` does.
    """
    described = _described(tokenizer)
    learn = _kind(described, tokenizer)
    found = learn(described["model"], _words(described, texts), _control(described), count)
    model = described["model"]
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in described["added_tokens"]}}
    first = max(ids.values()) + 1
    # added tokens go into the model's vocabulary too: `tokenizers` would count their ids from its size, which has grown
    model["vocab"] = dict(sorted(ids.items(), key=lambda item: item[1]))
    model["vocab"] |= {token: first + number for number, token in enumerate(found.tokens)}
    if found.merges:
        model["merges"] += [list(pair) if _as_lists(model) else " ".join(pair) for pair in found.merges]
    with atomic_write(tokenizer / FILE) as file:
        file.write(orjson.dumps(described, option=orjson.OPT_INDENT_2))
    return len(found.tokens)


def added_tokens(old: Path, new: Path) -> Added:
    """What an extended tokenizer's folder has more than the one it was made from."""
    before, after = _described(old), _described(new)
    known = set(before["model"]["vocab"]) | _control(before)
    fresh = sorted((ident, token) for token, ident in after["model"]["vocab"].items() if token not in known)
    pieces = _alone(before["model"]).encode_batch_fast([token for _, token in fresh], add_special_tokens=False)
    return Added(tuple(ident for ident, _ in fresh), tuple(tuple(found.ids) for found in pieces))


def lengthen(model: Any, added: Added) -> None:
    """Give a model's embeddings a row for each added token, in place: in, and out where that is another matrix, bias and all."""
    import torch

    wanted = max(added.ids, default=-1) + 1
    if wanted > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(wanted, mean_resizing=False)
    with torch.no_grad():
        for table in _tables(model):
            rows = [table[list(pieces)].float().mean(dim=0) for pieces in added.pieces]
            if rows:
                table[list(added.ids)] = torch.stack(rows).to(table.dtype)


def _tables(model: Any) -> Iterator[Any]:
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    yield embedding
    if output is not None:
        if output.weight is not embedding:
            yield output.weight
        if getattr(output, "bias", None) is not None:
            yield output.bias


# ---------------------------------------------------------------- kinds of tokenizer


@dataclass(frozen=True)
class _Found:
    """tokens: new ones, in the order of their ids. merges: after all others."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()


_Learn = Callable[[Json, Mapping[str, int], set[str], int], _Found]


def _kind(described: Json, folder: Path) -> _Learn:
    model = described["model"]
    kind = model.get("type")
    if kind == "WordPiece" and described.get("pre_tokenizer"):
        return _learn_whole_words
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if kind == "BPE" and "ByteLevel" in str(described.get("pre_tokenizer")) and not marked:
        return _learn_merges
    what = f"new tokens can be added to byte-level BPE and to WordPiece, and this tokenizer is {_named(described)}"
    raise InputError(what, where=str(folder), remedy="leave out --new-tokens, or start from another base")


def _named(described: Json) -> str:
    kind = str(described["model"].get("type"))
    return f"{kind} of another kind" if kind in ("BPE", "WordPiece") else kind


def _learn_merges(model: Json, words: Mapping[str, int], control: set[str], count: int) -> _Found:
    """Byte-level BPE. More merges are learnt than are wanted, for some make no new token."""
    split = _split(model, words)
    name_of = {ident: token for token, ident in model["vocab"].items()}
    wanted = 2 * count
    while True:
        merges = _trained(split, words, wanted)
        found = _usable(merges, name_of, model, control, count)
        if len(found.tokens) == count or len(merges) < wanted:
            return found
        wanted *= 2


def _split(model: Json, words: Mapping[str, int]) -> dict[str, str]:
    """Each word as the old merges leave it, one character a token; words with bytes that the tokenizer lacks are left out."""
    name_of = {ident: token for token, ident in model["vocab"].items()}
    listed = list(words)
    encoded = _alone(model).encode_batch_fast(listed, add_special_tokens=False)
    return {
        word: "".join(chr(FIRST_SYMBOL + ident) for ident in found.ids)
        for word, found in zip(listed, encoded, strict=True)
        if len(found.ids) > 1 and "".join(map(name_of.__getitem__, found.ids)) == word
    }


def _trained(split: Mapping[str, str], words: Mapping[str, int], wanted: int) -> list[tuple[str, str]]:
    """The merges that BPE training over these symbols makes, most frequent first."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    symbols = len(set().union(*split.values())) if split else 0
    trainer = trainers.BpeTrainer(vocab_size=symbols + wanted, min_frequency=RARE, show_progress=False)
    tokenizer.train_from_iterator(_repeated(split, words), trainer)
    return [(pair[0], pair[1]) for pair in orjson.loads(tokenizer.to_str())["model"]["merges"]]


def _repeated(split: Mapping[str, str], words: Mapping[str, int]) -> Iterator[str]:
    for word, symbols in split.items():
        for start in range(0, words[word], AT_ONCE):
            yield f"{symbols} " * min(AT_ONCE, words[word] - start)


def _usable(
    merges: Sequence[tuple[str, str]], name_of: Mapping[int, str], model: Json, control: set[str], count: int
) -> _Found:
    """The merges as tokens' texts, without those that make a special token or one that is too long, nor what is made of these."""
    text = {chr(FIRST_SYMBOL + ident): name for ident, name in name_of.items()}
    known, tokens, kept = set(model["vocab"]), list[str](), dict[tuple[str, str], None]()
    there = {_pair(merge) for merge in model["merges"]}
    for left, right in merges:
        if len(tokens) == count:
            break
        if left not in text or right not in text:
            continue
        pair = text[left], text[right]
        token = "".join(pair)
        if len(token) > LONGEST or token in control:
            continue
        text[left + right] = token
        if pair not in there:
            kept[pair] = None
        if token not in known:
            known.add(token)
            tokens.append(token)
    return _Found(tuple(tokens), tuple(kept))


def _learn_whole_words(model: Json, words: Mapping[str, int], control: set[str], count: int) -> _Found:
    """WordPiece: the words that save the most pieces. One it cannot read at all counts as a piece a character and one more."""
    unknown = model["vocab"].get(model["unk_token"])
    listed = sorted(
        word for word, times in words.items() if times >= RARE and len(word) <= LONGEST and word not in control
    )
    encoded = _alone(model).encode_batch_fast(listed, add_special_tokens=False)
    pieces = {
        word: len(word) + 1 if unknown in found.ids else len(found.ids)
        for word, found in zip(listed, encoded, strict=True)
    }
    saved = {word: words[word] * (number - 1) for word, number in pieces.items() if number > 1}
    return _Found(tuple(sorted(saved, key=lambda word: (-saved[word], word))[:count]))


# ---------------------------------------------------------------- tokenizer.json


def _described(folder: Path) -> Json:
    """tokenizer.json. Raises `InputError` where there is none."""
    try:
        found: Json = orjson.loads((folder / FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        remedy = "leave out --new-tokens, or start from a base with a tokenizer.json"
        raise InputError(f"{FILE} cannot be read: {error}", where=str(folder), remedy=remedy) from error
    return {**found, "added_tokens": found.get("added_tokens") or []}


def _control(described: Json) -> set[str]:
    return {token["content"] for token in described["added_tokens"]}


def _words(described: Json, texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, cut and written as the tokenizer does it."""
    from tokenizers import Tokenizer

    tokenizer, words = Tokenizer.from_str(orjson.dumps(described).decode()), Counter[str]()
    for text in texts:
        plain = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain))
    return words


def _alone(model: Json) -> Any:
    """A tokenizer for single words that are cut and written already."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(orjson.dumps({"version": "1.0", "model": model, "added_tokens": []}).decode())


def _as_lists(model: Json) -> bool:
    return not model["merges"] or isinstance(model["merges"][0], list)


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge if isinstance(merge, list) else merge.split(" ")
    return left, right
