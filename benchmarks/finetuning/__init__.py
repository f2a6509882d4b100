"""The modes of benchmarks/finetune.py."""
