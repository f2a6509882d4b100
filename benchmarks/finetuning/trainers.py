"""One trainer, one command: how each is told to do the same, run it, read its clock, score its model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tools
from pretraining import processes
from tools import python_of

from finetuning.data import SCRIPTS, Chats

SETTLED = 2  # optimizer steps before which a clock says little: caches fill
# its pins refuse transformers above 5.6 and peft above 0.18, so it gets an environment of its own
tools.PEERS.setdefault("llamafactory", ("python3", ("torch==2.13.0", "llamafactory==0.9.5")))
TUNED = {"full": 5e-5, "lora": 5e-4}  # learning rates


@dataclass(frozen=True)
class Task:
    """What all trainers are given. batch: rows an optimizer step, micro of them a forward pass where a trainer must be told.

    length: tokens a row at most; no row is longer. method, rank, alpha: full, or LoRA on all linear layers but the output.
    """

    base: Path
    chats: Chats
    method: str
    steps: int
    batch: int
    micro: int
    length: int
    lr: float
    seed: int
    precision: str = "fp32"
    device: str = "cpu"
    rank: int = 16
    alpha: int = 32
    decay: float = 0.01
    clip: float = 1.0

    def as_json(self, out: Path) -> str:
        own = {name: value for name, value in asdict(self).items() if name != "chats"}
        files = {"rows": self.chats.rows, "ordered": self.chats.ordered}
        return json.dumps({**own, **files, "out": out}, default=str)


@dataclass(frozen=True)
class Trained:
    """What a run took and gave.

    seconds: of the whole command. step: of an optimizer step, mean of the settled ones; speed: tokens that it was given a second,
    without padding. shown: tokens that the model saw in all steps, real: without padding. memory: the most the process held, before: what it held at
    its first forward pass, gpu: the most that torch held there; in bytes. losses: of each step.
    """

    seconds: float
    cpu: float
    step: float
    speed: float
    shown: int
    real: int
    before: int
    memory: int
    gpu: int
    losses: tuple[float, ...]

    @property
    def peak(self) -> int:
        return self.gpu or self.memory


Command = Callable[[Task, Path], list[str]]  # (task, out) -> what counted.py runs


@dataclass(frozen=True)
class Trainer:
    """name: as shown. losses: reads them out of its output folder."""

    name: str
    command: Command
    losses: Callable[[Path], list[float]]
    environment: str = "ptft"


def run(trainer: Trainer, task: Task, out: Path, cache: Path, threads: int, limit: float | None = None) -> Trained:
    """Train; the model lies in `out` afterwards. Raises `Missing` or RuntimeError."""
    shutil.rmtree(out, ignore_errors=True)
    marks = out.with_suffix(".marks.json")
    marks.parent.mkdir(parents=True, exist_ok=True)
    for old in (marks, marks.with_suffix(".tokens.json")):
        old.unlink(missing_ok=True)
    python = environment_of(trainer.environment, cache)
    counted = [str(SCRIPTS / "counted.py"), str(marks), str(task.chats.vocabulary), str(task.chats.pad)]
    done = processes.run([str(python), *counted, *trainer.command(task, out)], threads, limit)
    found = measured(marks, done, trainer.losses(out), task.chats.tokens / task.chats.count * task.batch)
    if json.loads(marks.read_text())["threads"] != threads:
        raise RuntimeError(f"{trainer.name} did not run on {threads} thread(s)")
    return found


def measured(marks: Path, done: processes.Done, losses: list[float], given: float) -> Trained:
    """given: tokens a step in the rows. Not counted in the model: ptft leaves out what follows the last answer."""
    clock = json.loads(marks.read_text())
    tokens = json.loads(marks.with_suffix(".tokens.json").read_text())
    at, real = clock["at"], tokens["real"]
    first = min(SETTLED, len(at) - 1) - 1  # the end of the last step that does not count
    step = (at[-1] - at[first]) / (len(at) - 1 - first)
    return Trained(
        done.seconds, done.cpu, step, given / step, tokens["shown"][-1], real[-1], clock["before"], clock["peak"], clock["gpu"],
        tuple(losses),
    )  # fmt: skip


def score(base: Path, model: Path, held: Path, threads: int) -> float:
    """Mean nats of a held-out answer's token."""
    report = model.with_suffix(".score.json")
    given = {"base": str(base), "model": str(model), "held": str(held), "report": str(report)}
    processes.run([sys.executable, str(SCRIPTS / "score.py"), json.dumps(given)], threads)
    found = json.loads(report.read_text())
    return float(found["nll"] / found["tokens"])


# ---------------------------------------------------------------- the commands


def ptft(*settings: str) -> Command:
    """The command line of `ptft finetune instruction`, with more options. How many rows a pass takes it chooses itself."""

    def command(task: Task, out: Path) -> list[str]:
        knobs = {"warmup": 0.0, "weight_decay": task.decay, "clip": task.clip, "save_every": 10 * task.steps}
        if task.method == "lora":
            knobs |= {"lora.rank": task.rank, "lora.alpha": task.alpha}
        return [
            "-m", "ptft", "finetune", "instruction", str(task.base), str(task.chats.rows), "-o", str(out), "--method", task.method,
            "--epochs", str(task.steps * task.batch / task.chats.count), "--batch-size", str(task.batch), "--lr", str(task.lr),
            "--seq-len", str(task.length), "--precision", task.precision, "--seed", str(task.seed),
            *(part for name, value in knobs.items() for part in ("--set", f"{name}={value}")), *settings,
        ]  # fmt: skip

    return command


def ptft_losses(out: Path) -> list[float]:
    entries = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def script(name: str) -> Command:
    """A script of finetune_peers/."""
    return lambda task, out: [str(SCRIPTS / name), task.as_json(out)]


def script_losses(out: Path) -> list[float]:
    found: list[float] = json.loads((out / "losses.json").read_text())
    return found


def llamafactory(task: Task, out: Path) -> list[str]:
    """`llamafactory-cli train` on a file of settings. Its template is ChatML too; it learns the newline behind an answer as well."""
    folder = task.chats.ordered.parent
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    rows = {
        "file_name": task.chats.ordered.name, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags,
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"rows": rows}))
    settings = {
        "model_name_or_path": str(task.base), "stage": "sft", "do_train": True, "finetuning_type": task.method,
        "dataset": "rows", "dataset_dir": str(folder), "template": "chatml", "cutoff_len": task.length,
        "overwrite_cache": True, "disable_shuffling": True, "output_dir": str(out), "overwrite_output_dir": True,
        "max_steps": task.steps, "per_device_train_batch_size": task.micro,
        "gradient_accumulation_steps": task.batch // task.micro, "learning_rate": task.lr, "lr_scheduler_type": "cosine",
        "warmup_steps": 0, "weight_decay": task.decay, "max_grad_norm": task.clip, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "seed": task.seed, "disable_gradient_checkpointing": True,
        "bf16": task.precision == "bf16", "use_cpu": task.device == "cpu", "plot_loss": False,
    }  # fmt: skip
    if task.method == "lora":
        settings |= {
            "lora_rank": task.rank, "lora_alpha": task.alpha, "lora_dropout": 0.0, "lora_target": "all",
        }  # fmt: skip
    file = out.with_suffix(".yaml")  # of which JSON is a part; its own reader of .json fails
    file.write_text(json.dumps(settings))
    return ["-m", "llamafactory.cli", "train", str(file)]


def llamafactory_losses(out: Path) -> list[float]:
    entries = map(json.loads, (out / "trainer_log.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def environment_of(name: str, cache: Path) -> Path:
    """The interpreter of a trainer's environment, made on first use."""
    python = python_of(name, cache)
    if name == "llamafactory":
        _drop_cuda_builds(python)
    return python


def _drop_cuda_builds(python: Path) -> None:
    """With torch's CPU build, the CUDA builds of torchvision and torchaudio do not load, and text needs neither.

    LLaMA-Factory imports torchaudio all the same, which its Python part alone is enough for.
    """
    say = "import torch, pathlib; print(torch.version.cuda or 'none', pathlib.Path(torch.__file__).parents[1])"
    cuda, packages = subprocess.run([python, "-c", say], capture_output=True, text=True, check=True).stdout.split()
    if cuda != "none":
        return
    for library in Path(packages).glob("torchaudio/lib/*.so"):
        library.unlink()
    if (Path(packages) / "torchvision").exists():
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "torchvision"], capture_output=True, check=True)


TRAINERS = (
    Trainer("ptft", ptft(), ptft_losses),
    Trainer("TRL SFTTrainer", script("trl_sft.py"), script_losses),
    Trainer("LLaMA-Factory", llamafactory, llamafactory_losses, "llamafactory"),
    Trainer("transformers Trainer", script("plain_trainer.py"), script_losses),
)


def shorter(task: Task, steps: int) -> Task:
    """The same task, stopped earlier: only timed."""
    return replace(task, steps=min(steps, task.steps))


def versions(cache: Path) -> str:
    """Of what took part."""
    say = "import sys; from importlib.metadata import version; print(*(f'{name} {version(name)}' for name in sys.argv[1:]), sep=', ')"
    found = []
    for environment, packages in (
        ("ptft", ("ptft", "trl", "transformers", "peft", "torch")),
        ("llamafactory", ("llamafactory", "trl", "transformers", "peft", "torch")),
    ):
        python = sys.executable if environment == "ptft" else str(cache / "venvs" / environment / "bin" / "python")
        if Path(python).exists():
            done = subprocess.run([python, "-c", say, *packages], capture_output=True, text=True)
            found.append(f"{environment}'s environment: {done.stdout.strip()}")
    return "; ".join(found)
