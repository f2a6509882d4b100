"""Training, shared by pretrain and finetune: the order of the data, the loss, and transformers' Trainer around them."""

from ptft.core.training.data import Batches
from ptft.core.training.engine import train
from ptft.core.training.measure import LmScore, score_blocks
from ptft.core.training.objectives import Objective
from ptft.core.training.passes import micro_batch_of, passes_of
from ptft.core.training.precision import precision_of
from ptft.core.training.rows import Flat, Padding, Pairs, Rows
from ptft.core.training.schedule import Schedule
from ptft.core.training.settings import Settings, Trained
from ptft.core.training.watch import Watching

__all__ = [
    "Batches",
    "Flat",
    "LmScore",
    "Objective",
    "Padding",
    "Pairs",
    "Rows",
    "Schedule",
    "Settings",
    "Trained",
    "Watching",
    "micro_batch_of",
    "passes_of",
    "precision_of",
    "score_blocks",
    "train",
]
