"""One tokenizer trained and tried, in a process and an environment of its own.

    python tokenizer_peers.py WAY TRAIN.jsonl HELD.jsonl REPORT.json VOCABULARY PRESET PATTERN

WAY: ptft (its learning alone), tokenizers, sentencepiece, rustbpe. Reports the time of learning, and tokens of the held-out texts.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

LIMIT = 10_000  # characters of a document
Encode = Callable[[str], int]


def texts_of(path: str) -> Iterator[str]:
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"][:LIMIT]


def by_ptft(train: str, vocabulary: int, preset: str, pattern: str) -> Callable[[], Encode]:
    from ptft.core.chat_templates import CHATML
    from ptft.core.contracts import Inputs
    from ptft.core.files import expand
    from ptft.core.progress import Silent
    from ptft.core.rows import RejectLog
    from ptft.stages.tokenizer import sampling
    from ptft.stages.tokenizer.learn import learnt
    from ptft.stages.tokenizer.recipe import TokenizerRecipe

    recipe = TokenizerRecipe(vocab_size=vocabulary, preset=preset, max_characters=LIMIT)  # type: ignore[arg-type]
    inputs = Inputs({"data": expand([train])})

    def work() -> Encode:
        log = RejectLog(Path(tempfile.mkdtemp()) / "rejected.jsonl", 0)
        sample = sampling.choose(recipe, inputs, Silent())
        tokenizer = learnt(recipe, CHATML, sampling.batches(recipe, inputs, log, sample), Silent())
        return lambda text: len(tokenizer.encode(text).ids)

    return work


def by_tokenizers(train: str, vocabulary: int, preset: str, pattern: str) -> Callable[[], Encode]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    def work() -> Encode:
        tokenizer = Tokenizer(models.BPE())
        cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, byte_level])
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts_of(train), trainer)
        return lambda text: len(tokenizer.encode(text).ids)

    return work


def by_sentencepiece(train: str, vocabulary: int, preset: str, pattern: str) -> Callable[[], Encode]:
    import sentencepiece

    def work() -> Encode:
        model = Path(tempfile.mkdtemp()) / "model"
        lines = (line for text in texts_of(train) for line in text.split("\n") if line)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_prefix=str(model), vocab_size=vocabulary, model_type="bpe", byte_fallback=True,
            character_coverage=0.9995, normalization_rule_name="identity", remove_extra_whitespaces=False,
            max_sentence_length=10**6, num_threads=int(os.environ["RAYON_NUM_THREADS"]), minloglevel=2,
        )  # fmt: skip
        loaded = sentencepiece.SentencePieceProcessor(model_file=f"{model}.model")
        return lambda text: (
            sum(len(loaded.encode(line)) + 1 for line in text.split("\n")) - 1
        )  # newlines are no text to it

    return work


def by_rustbpe(train: str, vocabulary: int, preset: str, pattern: str) -> Callable[[], Encode]:
    import rustbpe
    import tiktoken

    def work() -> Encode:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(texts_of(train), vocabulary, pattern=pattern)
        ranks = {bytes(token): rank for token, rank in tokenizer.get_mergeable_ranks()}
        fast = tiktoken.Encoding("held", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return lambda text: len(fast.encode_ordinary(text))

    return work


WAYS = {"ptft": by_ptft, "tokenizers": by_tokenizers, "sentencepiece": by_sentencepiece, "rustbpe": by_rustbpe}


def main() -> None:
    way, train, held, target, vocabulary, preset, pattern = sys.argv[1:]
    work = WAYS[way](train, int(vocabulary), preset, pattern)
    started, spent = time.perf_counter(), sum(os.times()[:4])
    encode = work()
    seconds, cpu = time.perf_counter() - started, sum(os.times()[:4]) - spent
    sums: dict[str, list[int]] = {}
    with Path(held).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text = row["text"][:LIMIT]
            of = sums.setdefault(row["language"], [0, 0])
            of[0] += len(text.encode())
            of[1] += encode(text)
    report = {
        "seconds": seconds, "cpu": cpu, "bytes_per_token": {name: size / tokens for name, (size, tokens) in sums.items()},
        "version": f"{way} {version(way)}",
    }  # fmt: skip
    Path(target).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
