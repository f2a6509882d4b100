"""The one GGUF file of SmolLM2-135M-Instruct to a plain Hugging Face folder.

    python smollm2.py SOURCE_FOLDER OUT_FOLDER

A model that transformers read out of a GGUF file refuses to be saved, so its weights go into a new one of the same configuration.
The tokenizer gets, for everybody alike, a padding token that is not the end of a turn, and ChatML with generation tags.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

PAD = "<|endoftext|>"
SAID = "{{ message['content'] + '<|im_end|>' }}"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    + SAID
    + "{% endgeneration %}{% else %}"
    + SAID
    + "{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def convert(source: Path, out: Path) -> None:
    name = next(source.glob("*.gguf")).name
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    tokenizer.pad_token, tokenizer.chat_template = PAD, CHATML
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    config = LlamaConfig(**settings)
    config.pad_token_id, config.tie_word_embeddings = tokenizer.convert_tokens_to_ids(PAD), True
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    plain.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
