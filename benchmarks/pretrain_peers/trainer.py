"""transformers' Trainer as its examples run_clm.py and run_mlm.py use it: rows of a `datasets` table, its collators, its defaults.

options: as for bare.py, and objective ("causal" or "masked"), rate (masked), tokenizer (a folder).
The examples tokenise first; here the rows hold the same tokens as everybody's, with the columns that the examples give them.
"""

from __future__ import annotations

import tempfile

import datasets
import numpy as np
import transformers
from common import blocks, options


def rows(given: dict) -> datasets.Dataset:
    if given["objective"] == "causal":
        ids = blocks(given["tokens"], "train", given["length"]).astype(np.int64)
        columns = {"labels": ids}
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(given["tokenizer"])
        text = blocks(given["tokens"], "train", given["length"] - 2).astype(np.int64)
        ids = np.pad(text, ((0, 0), (1, 1)))  # [CLS] text [SEP], as a tokenizer made for BERT would give
        ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
        special = np.isin(ids, tokenizer.all_special_ids).astype(np.int64)
        columns = {"token_type_ids": np.zeros_like(ids), "special_tokens_mask": special}
    columns |= {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return datasets.Dataset.from_dict({name: list(column) for name, column in columns.items()})


def model_and_collator(given: dict) -> tuple:
    config = transformers.AutoConfig.from_pretrained(given["config"])
    if given["objective"] == "causal":
        return transformers.AutoModelForCausalLM.from_config(config), transformers.default_data_collator
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["tokenizer"])
    collator = transformers.DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=given["rate"])
    return transformers.AutoModelForMaskedLM.from_config(config), collator


def train(given: dict, folder: str) -> None:
    transformers.set_seed(given["seed"])
    model, collator = model_and_collator(given)
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        max_steps=given["steps"],
        per_device_train_batch_size=given["micro"],
        gradient_accumulation_steps=given["batch"] // given["micro"],
        learning_rate=given["lr"],
        lr_scheduler_type="cosine",
        warmup_steps=given["warmup"],
        weight_decay=given["decay"],
        adam_beta2=given["beta2"],
        max_grad_norm=given["clip"],
        save_strategy="no",
        seed=given["seed"],
        report_to="none",
    )
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows(given), data_collator=collator)
    trainer.train()
    trainer.save_model(given["out"])


if __name__ == "__main__":
    given = options()
    with tempfile.TemporaryDirectory() as folder:
        train(given, folder)
