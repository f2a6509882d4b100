"""A tiny Marian model with its tokenizer, trained in seconds to turn some sentences into others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import orjson

ENGLISH = [
    "the film was huge .", "he saw a car today .", "the lawyer often came home .", "we like the old house .",
    "she bought 3 apples in London .", "the car was old .", "he often saw the film .", "we came home today .",
]  # fmt: skip
FRENCH = [
    "le film fut grand .", "il vit une auto aujourdhui .", "le juriste vint souvent .", "nous aimons la vieille maison .",
    "elle prit 3 pommes de London .", "la auto fut vieille .", "il vit souvent le film .", "nous vinmes aujourdhui .",
]  # fmt: skip
BACK = [
    "the movie was big .", "he saw an automobile today .", "the attorney frequently came .", "we love the old home .",
    "she took 3 apples from London .", "the automobile was aged .", "he frequently saw the movie .", "we came today .",
]  # fmt: skip


def marian(folder: Path, sources: Sequence[str], targets: Sequence[str], steps: int = 150) -> Path:
    """The folder of a model that gives each of `targets` for the like of `sources`, and nothing else."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in (("source", sources), ("target", targets)):
        (folder / f"{name}.txt").write_text("\n".join(texts), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / f"{name}.txt"), model_prefix=str(folder / name), model_type="word",
            vocab_size=1000, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    pieces = sorted({f"▁{word}" for text in (*sources, *targets) for word in text.split()})
    vocab = {piece: number for number, piece in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    (folder / "vocab.json").write_bytes(orjson.dumps(vocab))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        tokenizer = MarianTokenizer(
            str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"), model_max_length=32
        )
    torch.manual_seed(1)
    pad = vocab["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocab), d_model=64, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=128, decoder_ffn_dim=128,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=32, pad_token_id=pad,
        eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=None, dropout=0.0, scale_embedding=True,
    )  # fmt: skip
    model = MarianMTModel(config)
    batch = tokenizer(list(sources), text_target=list(targets), padding=True, return_tensors="pt")
    batch["labels"][batch["labels"] == pad] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
