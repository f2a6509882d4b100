"""The modes of benchmarks/eval.py."""
