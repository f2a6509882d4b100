"""transformers' Trainer with as little around it as needed: our order of data, one loss, checkpoints that are whole or absent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ptft.core.contracts import Output
from ptft.core.progress import Progress
from ptft.core.training import checkpoints, sharding
from ptft.core.training.data import Batches, Example, Source
from ptft.core.training.heads import with_loss
from ptft.core.training.objectives import Objective
from ptft.core.training.optimizers import optimizer_of
from ptft.core.training.out_of_memory import memory_explained
from ptft.core.training.passes import even_passes, even_sums, passes_of
from ptft.core.training.precision import to_fp8, use_liger
from ptft.core.training.processes import barrier, rank, summed, world_size
from ptft.core.training.settings import Settings, Trained
from ptft.core.training.watch import BEST, Watcher, Watching, best_step, peak_memory

Collate = Callable[[Sequence[Example]], dict[str, torch.Tensor]]


def train(
    model: Any,
    source: Source,
    settings: Settings,
    *,
    objective: Objective,
    collate: Collate,
    out: Output,
    progress: Progress,
    watching: Watching | None = None,
    tokenizer: Any = None,
) -> Trained:
    """Train `model`; go on from the newest checkpoint in `out.final` if there is one.

    In a group of processes (see `processes`) every one calls this with equal arguments. tokenizer: saved beside each checkpoint.
    Raises `Diverged` where the loss is not a number or jumps, `RunError` where memory does not suffice.
    """
    transformers.set_seed(settings.seed)
    checkpoint = checkpoints.newest(out.final)
    barrier()  # nobody looks for checkpoints once the first is being written
    _prepare(model, settings, checkpoint)
    with contextlib.ExitStack() as stack:
        if objective.name == "tokens":
            stack.enter_context(with_loss(model, chunked=settings.chunked, sparse=objective.sparse))
        bar = stack.enter_context(progress.step("training", settings.steps, "steps"))
        stack.enter_context(memory_explained(settings))
        trainer = _Trainer(settings, out, objective, collate, model, source, tokenizer)
        watcher = Watcher(settings, watching or Watching(), bar, out, trainer.save_best)
        trainer.add_callback(watcher)
        if rank():
            transformers.set_seed(settings.seed + rank())  # dropout differs between processes
        at = checkpoints.step_of(checkpoint) if checkpoint else 0
        watcher.begin(at)
        if rank() == 0:
            checkpoints.forget_after(out.state, BEST, at)
        if at:
            progress.note(f"going on from step {at:,} of {settings.steps:,}")
        if watcher.has_stopped:  # early, before it was interrupted
            trainer.state.global_step = at
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return _result(model, settings, watcher, trainer, out)


def _prepare(model: Any, settings: Settings, checkpoint: Path | None) -> None:
    """Everything that must happen to the model before an optimizer holds its parameters."""
    if settings.liger:
        use_liger(model)
    if checkpoint is not None:
        checkpoints.load_weights(model, checkpoint)
    if settings.precision == "fp8":
        to_fp8(model)
    if settings.checkpointing:
        model.activation_checkpointing_enable()
    if settings.parallel == "fsdp" and world_size() > 1:
        sharding.shard(model, settings)


def _result(model: Any, settings: Settings, watcher: Watcher, trainer: _Trainer, out: Output) -> Trained:
    """The model with the weights to keep: whole, outside of any group."""
    if sharding.is_sharded(model):
        model = sharding.unsharded(model) or model
    if settings.checkpointing:
        model.activation_checkpointing_disable()
    if settings.compile:
        model._compiled_call_impl = None  # what `compile` set
    best = best_step(watcher.looks, settings)
    if settings.keep == "best" and best not in (None, trainer.state.global_step) and rank() == 0:
        checkpoints.load_weights(model, out.state / f"{BEST}-{best}")
    barrier()
    clock = watcher.clock
    return Trained(
        model, watcher.metrics.entries, clock.seconds, clock.steps, trainer.state.global_step, best, peak_memory()
    )


# ---------------------------------------------------------------- around the Trainer


class _Held:
    """Examples that are not a batch yet. No list: what feeds the Trainer would move each tensor of it to the device alone."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __contains__(self, name: str) -> bool:
        return False  # no labels to count, the Trainer is told


class _Trainer(transformers.Trainer):
    """The loss, the optimizer, the schedule and the checkpoints are ours; the loop is transformers'."""

    def __init__(
        self,
        settings: Settings,
        out: Output,
        objective: Objective,
        collate: Collate,
        model: Any,
        source: Source,
        tokenizer: Any,
    ) -> None:
        self.settings, self.out, self.objective, self.tokenizer = settings, out, objective, tokenizer
        self._sharded = False
        self._parts: dict[str, Any] = {}
        self.optimizer: Any = None
        self.lr_scheduler: Any = None
        self._losses = self._token_loss if objective.name == "tokens" else self._head_loss
        data = Batches(source, settings.steps * settings.batch, settings.seed)
        self._collate = collate
        self._passes = passes_of(source, collate)  # rows of unequal length are divided once a step is there
        arguments = _arguments(settings, out.state / "saving")
        # as the configuration is saved: the Trainer would set it, and T5's encoder alone refuses it; `with_loss` turns it off
        arguments.use_cache = bool(getattr(model.config, "use_cache", False))
        self._placed = sharding.is_sharded(model)
        # `compute_loss_func` makes the Trainer count the labels of the whole optimizer step
        super().__init__(
            model=model, args=arguments, train_dataset=data, data_collator=collate if self._passes == "even" else _Held,
            compute_loss_func=self._losses,
        )  # fmt: skip
        self._sharded = self._placed  # only now: the Trainer refuses to save sharded models, which it cannot but we can
        self._loss_shifts_labels = False  # the first token's label says already that it is not predicted
        self.remove_callback(transformers.PrinterCallback)
        if settings.compile:
            model.compile()

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = optimizer_of(self.model if model is None else model, self.settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, self.settings.schedule.factor
            )
        return self.lr_scheduler

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The forward passes of an optimizer step, and how many labels they have."""
        drawn, labels = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self._passes == "even":
            return drawn, labels
        rows = [row for held in drawn for row in held.examples]
        divide = even_sums if self._passes == "flat" else even_passes
        divided = divide([len(row["input_ids"]) for row in rows], len(drawn))
        passes = [self._collate([rows[index] for index in chosen]) for chosen in divided]
        return passes, self._get_num_items_in_batch(passes, device)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # counted once, by `cost`, and not from all parameters at each forward pass

    # ------------------------------------------------------------ losses

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The mean over the labels of the whole optimizer step, not of each micro-batch (transformers#34191)."""
        loss: torch.Tensor = self._losses(model, inputs, num_items_in_batch)
        return loss

    def _token_loss(self, model: Any, inputs: Any, labels: Any) -> torch.Tensor:
        outputs = model(**inputs)
        each = world_size()  # the gradients are averaged over the processes; the count is of all of them
        loss = outputs.loss / labels * each
        self._note("loss", loss)
        parts = outputs.parts
        if "pair" in parts:
            pair = parts["pair"] / self.settings.batch * each
            self._note("pair_loss", pair)
            loss = loss + pair
        if "balance" in parts:
            balance = parts["balance"] / self.settings.batch * each
            self._note("balance", balance)
            self._note("expert_use", parts["expert_use"] / self.args.gradient_accumulation_steps)
            loss = loss + self.settings.balance * balance
        return loss

    def _head_loss(self, model: Any, inputs: Any, labels: Any) -> torch.Tensor:
        targets = inputs.pop("labels")
        loss = self.objective.summed(model(**inputs), targets, inputs.get("attention_mask")) / labels * world_size()
        self._note("loss", loss)
        return loss

    def _note(self, name: str, value: torch.Tensor) -> None:
        self._parts[name] = self._parts.get(name, 0.0) + value.detach()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs = {**logs, **self._noted()}
        super().log(logs, start_time)
        self.state.log_history.clear()  # else it would grow, and be written into every checkpoint; metrics.jsonl has it

    def _noted(self) -> dict[str, float]:
        """The parts of the loss since the last log, as means over the processes; of the experts' shares the least and the most."""
        use = self._parts.pop("expert_use", None)
        names = sorted(self._parts)
        values = summed([float(self._parts[name]) / world_size() for name in names])
        found = dict(zip(names, values, strict=True))
        if use is not None:
            shares = summed([float(share) / world_size() for share in use])
            found |= {"expert_use_min": min(shares), "expert_use_max": max(shares)}
        self._parts.clear()
        return found

    # ------------------------------------------------------------ several processes

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not self._placed:
            super()._move_model_to_device(model, device)

    @property
    def is_distributed_loading_by_transformers(self) -> bool:
        """Whether the model is placed and sharded already: then the Trainer puts no DDP around it."""
        return self._sharded

    @is_distributed_loading_by_transformers.setter
    def is_distributed_loading_by_transformers(self, _: bool) -> None:
        """The Trainer would ask the model, which knows of its own way of sharding only."""

    def _defer_fsdp_gradient_reduction(self) -> Any:
        return sharding.gradients_kept(self.model)

    # ------------------------------------------------------------ checkpoints

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Done already, before the model was sharded."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The model's folder, whole; every process takes part where the model is sharded."""
        state = sharding.whole_state(self.model) if self._sharded else None
        if rank() == 0:
            self.model.save_pretrained(output_dir, state_dict=state)
            checkpoints.save_encoder(self.model, Path(str(output_dir)))
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(output_dir)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = self.optimizer.state_dict()
        if self._sharded:
            state = sharding.gathered(state)
        if rank() == 0:
            torch.save(state, Path(output_dir) / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = torch.load(Path(checkpoint) / "optimizer.pt", map_location="cpu", weights_only=True)
        if self._sharded:
            state = sharding.scattered(state, self.optimizer)
        self.optimizer.load_state_dict(state)
        schedule = torch.load(Path(checkpoint) / "scheduler.pt", map_location="cpu", weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        barrier()
        if rank() == 0:
            made = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            checkpoints.publish(made, self.out.final, made.name)

    def save_best(self) -> None:
        """Set these weights aside as the best so far."""
        made = self.out.state / f"{BEST}.new"
        self._save(str(made))
        if rank() == 0:
            newest = checkpoints.newest(self.out.final)
            needed = (
                checkpoints.step_of(newest) if newest else 0
            )  # a resumed run begins there, and needs the best until then
            checkpoints.publish(made, self.out.state, f"{BEST}-{self.state.global_step}", needed)


def _arguments(settings: Settings, saving: Path) -> transformers.TrainingArguments:
    each = settings.batch // world_size()
    arguments = transformers.TrainingArguments(
        output_dir=str(saving),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=each // settings.micro_batch,
        learning_rate=settings.lr,
        max_grad_norm=settings.clip,
        logging_steps=1,  # a mean over more steps would depend on where a resumed run began
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_strategy="steps",
        save_steps=settings.save_every,
        seed=settings.seed,
        bf16=settings.precision in ("bf16", "fp8"),
        fp16=settings.precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",  # Batches has the order
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else one process would split each batch over all GPUs it sees
    return arguments
