"""The modes of benchmarks/pretrain.py."""
