"""litgpt's way to take other data: a module that gives rows of tokens, one more than the model reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from litgpt.data import DataModule
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __init__(self, path: str, length: int) -> None:
        self.stream, self.length = np.memmap(path, dtype=np.uint16, mode="r"), length

    def __len__(self) -> int:
        return (len(self.stream) - 1) // self.length

    def __getitem__(self, row: int) -> torch.Tensor:
        start = row * self.length
        return torch.from_numpy(self.stream[start : start + self.length + 1].astype(np.int64))


@dataclass
class Tokens(DataModule):
    """folder: holds train.bin and val.bin."""

    folder: str = ""
    batch_size: int = field(init=False, repr=False, default=1)
    length: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        super().__init__()

    def connect(self, tokenizer: object = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
        self.batch_size, self.length = batch_size, max_seq_length or 0

    def train_dataloader(self) -> DataLoader:
        rows = Rows(f"{self.folder}/train.bin", self.length)
        return DataLoader(rows, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Rows(f"{self.folder}/val.bin", self.length), batch_size=self.batch_size)
