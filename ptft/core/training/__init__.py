"""Training, shared by pretrain and finetune: the order of the data, the loss, and transformers' Trainer around them."""

from ptft.core.training.data import Batches, LabelledRows, MaskedBlocks, PlainBlocks, pad_batch
from ptft.core.training.loop import Settings, Trained, train
from ptft.core.training.measure import LmScore, score_blocks

__all__ = [
    "Batches",
    "LabelledRows",
    "LmScore",
    "MaskedBlocks",
    "PlainBlocks",
    "Settings",
    "Trained",
    "pad_batch",
    "score_blocks",
    "train",
]
