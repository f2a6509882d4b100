"""TRL's SFTTrainer on conversations, its loss on what the assistant says. See common.py for the options."""

from __future__ import annotations

import datasets
import transformers
from common import adapter, arguments, finish, options, rows_of
from trl import SFTConfig, SFTTrainer


def train(given: dict) -> None:
    transformers.set_seed(given["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["base"])
    trainer = SFTTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32"),
        args=SFTConfig(**arguments(given), assistant_only_loss=True, max_length=given["length"]),
        train_dataset=datasets.Dataset.from_list([{"messages": row["messages"]} for row in rows_of(given["ordered"])]),
        processing_class=tokenizer,
        peft_config=adapter(given),
    )
    finish(trainer, tokenizer, given)


if __name__ == "__main__":
    train(options())
