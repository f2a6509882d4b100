"""One trainer, one command: how each is told to do the same, run it, read its clock, score its model."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tools
from tools import Missing, python_of

from pretraining import processes
from pretraining.data import Tokens

SCRIPTS = Path(__file__).parent.parent / "pretrain_peers"
SETTLED = 10  # steps before which a clock says little: caches fill, a compiler works
tools.PEERS.setdefault(
    "litgpt", ("python3", ("torch==2.13.0", "litgpt==0.5.13", "tensorboard", "torchmetrics", "requests", "numpy"))
)
REPOSITORIES = {"nanoGPT": ("https://github.com/karpathy/nanoGPT", "3adf61e154c3fe3fca428ad6bc3818b27a3b8291")}


@dataclass(frozen=True)
class Task:
    """What all trainers are given. batch: sequences an optimizer step, micro of them a forward pass."""

    tokens: Tokens
    config: Path  # a folder with config.json
    objective: str
    steps: int
    batch: int
    micro: int
    lr: float
    seed: int
    warmup: int = 0
    decay: float = 0.1
    beta2: float = 0.95
    clip: float = 1.0
    rate: float = 0.15
    masked: Path | None = None  # held-out sequences, masked once

    def as_json(self, out: Path) -> str:
        own = {name: value for name, value in asdict(self).items() if name != "tokens"}
        more = {
            "tokens": self.tokens.plain, "tokenizer": self.tokens.tokenizer, "length": self.tokens.length, "out": out,
        }  # fmt: skip
        return json.dumps({**own, **more}, default=str)

    @cached_property
    def architecture(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.config / "config.json").read_text())
        return found


@dataclass(frozen=True)
class Trained:
    """seconds, cpu: of the whole command. step, step_cpu: medians of a settled step. memory: in bytes (see launch.Marks)."""

    seconds: float
    cpu: float
    step: float
    step_cpu: float
    before: int
    memory: int
    gpu: int
    threads: int
    tokens_a_step: int

    @property
    def speed(self) -> float:
        return self.tokens_a_step / self.step

    @property
    def cpu_speed(self) -> float:
        return self.tokens_a_step / self.step_cpu


Command = Callable[[Task, Path, Path], list[str]]  # (task, out, cache) -> what launch.py runs


@dataclass(frozen=True)
class Trainer:
    """name: as shown. family: of models that it trains here. kind, model: what score.py loads, and where in the output folder."""

    name: str
    family: str
    command: Command
    kind: str = "hf"
    model: str = "."
    environment: str = "ptft"
    micro: int = 0  # another than the task's


def run(trainer: Trainer, task: Task, out: Path, cache: Path, threads: int, limit: float | None = None) -> Trained:
    """Train; the model lies in `out` afterwards. Raises `Missing` or RuntimeError."""
    task = replace(task, micro=trainer.micro) if trainer.micro else task
    shutil.rmtree(out, ignore_errors=True)
    marks = out.with_suffix(".marks.json")
    marks.parent.mkdir(parents=True, exist_ok=True)
    marks.unlink(missing_ok=True)
    python = python_of(trainer.environment, cache)
    command = [str(python), str(SCRIPTS / "launch.py"), str(marks), *trainer.command(task, out, cache)]
    done = processes.run(command, threads, limit)
    found = measured(marks, done, task.batch * task.tokens.length)
    if found.threads != threads:
        raise RuntimeError(f"{trainer.name} ran on {found.threads} threads, and was to run on {threads}")
    return found


def measured(marks: Path, done: processes.Done, tokens_a_step: int) -> Trained:
    found = json.loads(marks.read_text())
    return Trained(
        done.seconds, done.cpu, _median_step(found["at"]), _median_step(found["cpu"]), found["before"], found["peak"],
        found["gpu"], found["threads"], tokens_a_step,
    )  # fmt: skip


def _median_step(at: Sequence[float]) -> float:
    settled = at[min(SETTLED, len(at) // 2) :]
    return statistics.median(after - before for before, after in itertools.pairwise(settled))


def score(trainer: Trainer, task: Task, out: Path, cache: Path, threads: int) -> float:
    """Mean nats of a held-out token."""
    report = out.with_suffix(".score.json")
    given = {
        "kind": trainer.kind, "model": str(out / trainer.model), "tokens": str(task.tokens.plain), "length": task.tokens.length,
        "rows": task.tokens.rows, "masked": str(task.masked or ""), "report": str(report),
        "repo": str(repository("nanoGPT", cache)) if trainer.kind == "nanogpt" else "",
    }  # fmt: skip
    processes.run([str(python_of(trainer.environment, cache)), str(SCRIPTS / "score.py"), json.dumps(given)], threads)
    found = json.loads(report.read_text())
    return float(found["nll"] / found["tokens"])


def repository(name: str, cache: Path) -> Path:
    """A clone at the pinned commit under `cache`/repositories; one that is there already is taken."""
    address, commit = REPOSITORIES[name]
    folder = cache / "repositories" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        for command in (["clone", "-q", address, str(folder)], ["-C", str(folder), "checkout", "-q", commit]):
            result = subprocess.run(["git", *command], capture_output=True, text=True)
            if result.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                raise Missing(f"git {command[0]} failed: {result.stderr.strip()}")
    return folder


# ---------------------------------------------------------------- the commands


def ptft(*settings: str) -> Command:
    """The command line of `ptft pretrain`, with more options. It builds the model itself, from its sizes, as users have it do."""

    def command(task: Task, out: Path, cache: Path) -> list[str]:
        every = str(10 * task.steps)  # the others neither validate nor save on the way; at the end ptft always does
        layers, width, heads = sizes_of(task)
        knobs = {
            "architecture.layers": layers, "architecture.width": width, "architecture.heads": heads,
            "warmup": task.warmup / task.steps, "weight_decay": task.decay, "beta2": task.beta2, "clip": task.clip,
            "save_every": every, "eval_every": every, "val_tokens": task.tokens.length, "schedule": "cosine",
        }  # fmt: skip
        return [
            "-m", "ptft", "pretrain", str(task.tokens.pack), "--model", task.architecture["model_type"],
            "--objective", task.objective, "--seq-len", str(task.tokens.length),
            "--tokens", str(task.steps * task.batch * task.tokens.length),
            "--batch-tokens", str(task.batch * task.tokens.length), "--lr", str(task.lr), "--precision", "fp32",
            "--seed", str(task.seed), "-o", str(out),
            *(part for name, value in knobs.items() for part in ("--set", f"{name}={value}")), *settings,
        ]  # fmt: skip

    return command


def sizes_of(task: Task) -> tuple[int, int, int]:
    """(layers, width, heads) of the task's model."""
    shape = task.architecture
    if shape["model_type"] == "gpt2":
        return shape["n_layer"], shape["n_embd"], shape["n_head"]
    return shape["num_hidden_layers"], shape["hidden_size"], shape["num_attention_heads"]


def script(name: str) -> Command:
    """A script of pretrain_peers/."""
    return lambda task, out, cache: [str(SCRIPTS / name), task.as_json(out)]


def nanogpt(task: Task, out: Path, cache: Path) -> list[str]:
    """Its train.py with its CPU flags. It saves where it validates, so it does so once, after the last step, on one batch."""
    import pickle

    with (task.tokens.plain / "meta.pkl").open("wb") as file:
        pickle.dump({"vocab_size": task.tokens.vocab}, file)
    repo, shape = repository("nanoGPT", cache), task.architecture
    flags = {
        "out_dir": str(out), "dataset": str(task.tokens.plain), "device": "cpu", "compile": False, "dtype": "float32",
        "n_layer": shape["n_layer"], "n_head": shape["n_head"], "n_embd": shape["n_embd"], "bias": True, "dropout": 0.0,
        "block_size": task.tokens.length, "batch_size": task.micro, "gradient_accumulation_steps": task.batch // task.micro,
        "learning_rate": task.lr, "min_lr": 0.0, "warmup_iters": task.warmup, "lr_decay_iters": task.steps,
        "max_iters": task.steps, "eval_interval": task.steps, "eval_iters": 1, "weight_decay": task.decay,
        "beta2": task.beta2, "grad_clip": task.clip,
    }  # fmt: skip
    return ["--cwd", str(repo), str(repo / "train.py"), *(f"--{name}={value}" for name, value in flags.items())]


def litgpt(*, compiled: bool) -> Command:
    """`litgpt pretrain`, which compiles the model unless torch is told not to."""

    def command(task: Task, out: Path, cache: Path) -> list[str]:
        shape, length = task.architecture, task.tokens.length
        model = {
            "name": "llama", "block_size": length, "vocab_size": task.tokens.vocab, "padded_vocab_size": task.tokens.vocab,
            "n_layer": shape["num_hidden_layers"], "n_head": shape["num_attention_heads"], "n_embd": shape["hidden_size"],
            "n_query_groups": shape["num_key_value_heads"], "intermediate_size": shape["intermediate_size"],
            "rotary_percentage": 1.0, "parallel_residual": False, "bias": False, "norm_class_name": "RMSNorm",
            "mlp_class_name": "LLaMAMLP", "norm_eps": shape["rms_norm_eps"],
        }  # fmt: skip
        train = {
            "global_batch_size": task.batch, "micro_batch_size": task.micro, "max_tokens": task.steps * task.batch * length,
            "max_seq_length": length, "lr_warmup_steps": task.warmup, "min_lr": 0.0, "max_norm": task.clip,
            "tie_embeddings": True, "save_interval": 10 * task.steps, "log_interval": 1,
        }  # fmt: skip
        adamw = {"lr": task.lr, "weight_decay": task.decay, "betas": [0.9, task.beta2]}
        recipe = {
            "model_name": "llama", "model_config": model, "train": train, "out_dir": str(out), "precision": "32-true",
            "eval": {"interval": 10 * task.steps, "max_iters": 1, "initial_validation": False, "final_validation": False},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": adamw}, "devices": 1, "seed": task.seed,
            "data": {"class_path": "litgpt_tokens.Tokens", "init_args": {"folder": str(task.tokens.plain)}},
        }  # fmt: skip
        file = out.with_suffix(".litgpt.json")
        file.write_text(json.dumps(recipe))
        quiet = [] if compiled else ["--set", "TORCHDYNAMO_DISABLE=1"]
        return [*quiet, "-m", "litgpt", "pretrain", "--config", str(file)]

    return command


def versions(cache: Path) -> str:
    """Of what took part."""
    found = [f"nanoGPT {REPOSITORIES['nanoGPT'][1][:7]}"]
    for environment, packages in (("ptft", ("ptft", "torch", "transformers")), ("litgpt", ("litgpt", "torch"))):
        say = "import sys; from importlib.metadata import version; print(*(f'{name} {version(name)}' for name in sys.argv[1:]), sep=', ')"
        python = sys.executable if environment == "ptft" else str(cache / "venvs" / environment / "bin" / "python")
        if Path(python).exists():
            done = subprocess.run([python, "-c", say, *packages], capture_output=True, text=True)
            found.append(f"{environment}'s environment: {done.stdout.strip()}")
    return "; ".join(found)
