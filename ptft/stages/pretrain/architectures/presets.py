"""Published sizes by name. A preset keeps them and takes its vocabulary from the tokenizer, its positions from the sequence."""

from __future__ import annotations

from dataclasses import dataclass

from ptft.stages.pretrain.architectures.families import Shape


@dataclass(frozen=True)
class Preset:
    """source: where the sizes are published. rope_theta: None where positions are learnt, or what suits them is taken."""

    family: str
    shape: Shape
    source: str
    tied: bool = True
    rope_theta: float | None = None


PRESETS = {
    "gpt2-124m": Preset("gpt2", Shape(12, 768, 12, 12, 64, 3072), "Radford et al. 2019, openai-community/gpt2"),
    "gpt2-355m": Preset("gpt2", Shape(24, 1024, 16, 16, 64, 4096), "Radford et al. 2019, openai-community/gpt2-medium"),
    "smollm2-135m": Preset("llama", Shape(30, 576, 9, 3, 64, 1536), "HuggingFaceTB/SmolLM2-135M", rope_theta=100_000),
    "smollm2-360m": Preset("llama", Shape(32, 960, 15, 5, 64, 2560), "HuggingFaceTB/SmolLM2-360M", rope_theta=100_000),
    "llama-1b": Preset("llama", Shape(16, 2048, 32, 8, 64, 8192), "meta-llama/Llama-3.2-1B", rope_theta=500_000),
    "tinyllama-1.1b": Preset(
        "llama", Shape(22, 2048, 32, 4, 64, 5632), "Zhang et al. 2024, TinyLlama/TinyLlama-1.1B", tied=False, rope_theta=10_000
    ),
    "llama-7b": Preset(
        "llama", Shape(32, 4096, 32, 32, 128, 11008), "Touvron et al. 2023, table 2", tied=False, rope_theta=10_000
    ),
    "qwen3-0.6b": Preset("qwen3", Shape(28, 1024, 16, 8, 128, 3072), "Qwen/Qwen3-0.6B", rope_theta=1_000_000),
    "qwen3-1.7b": Preset("qwen3", Shape(28, 2048, 16, 8, 128, 6144), "Qwen/Qwen3-1.7B", rope_theta=1_000_000),
    "mixtral-small": Preset(
        "mixtral", Shape(12, 768, 12, 4, 64, 2048, 8, 2), "ours: the layers of gpt2-124m with Mixtral's 8 experts, 2 a token"
    ),
    "qwen3-moe-small": Preset(
        "qwen3-moe", Shape(12, 768, 12, 4, 64, 256, 64, 8),
        "ours: the layers of gpt2-124m with 64 fine-grained experts, 8 a token (Qwen3-30B-A3B has 128 and 8)",
    ),
    "qwen3-30b-a3b": Preset(
        "qwen3-moe", Shape(48, 2048, 32, 4, 128, 768, 128, 8), "Qwen/Qwen3-30B-A3B", tied=False, rope_theta=1_000_000
    ),
    "bert-base": Preset("bert", Shape(12, 768, 12, 12, 64, 3072), "Devlin et al. 2019, section 3"),
    "bert-large": Preset("bert", Shape(24, 1024, 16, 16, 64, 4096), "Devlin et al. 2019, section 3"),
    "modernbert-base": Preset("modernbert", Shape(22, 768, 12, 12, 64, 1152), "Warner et al. 2024, table 4"),
    "modernbert-large": Preset("modernbert", Shape(28, 1024, 16, 16, 64, 2624), "Warner et al. 2024, table 4"),
}  # fmt: skip
