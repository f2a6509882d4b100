"""transformers' Trainer with nothing around it: rows tokenised beforehand, its own padding. See common.py for the options."""

from __future__ import annotations

import datasets
import peft
import transformers
from common import adapter, arguments, encoded, finish, options, rows_of


def train(given: dict) -> None:
    transformers.set_seed(given["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["base"])
    model = transformers.AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32")
    lora = adapter(given)
    trainer = transformers.Trainer(
        model=model if lora is None else peft.get_peft_model(model, lora),
        args=transformers.TrainingArguments(**arguments(given)),
        train_dataset=datasets.Dataset.from_list(
            [encoded(tokenizer, row["messages"]) for row in rows_of(given["ordered"])]
        ),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
    )
    finish(trainer, tokenizer, given)


if __name__ == "__main__":
    train(options())
