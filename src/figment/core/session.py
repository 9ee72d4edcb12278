"""One process's part in one run: a step of every player, and the state that makes a resumed run exact."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from figment.core.averaging import Average
from figment.core.checkpoint import load_model_tensors, model_tensors
from figment.core.data import Batch, Dataset, Image, Masks
from figment.core.errors import Diverged, InvalidCheckpoint, UsageError
from figment.core.model import Learns, Loss, Model, Player, Turn
from figment.core.optimisers import Optimiser
from figment.core.order import Order
from figment.core.processes import Processes, autocast, resolve_precision
from figment.core.run import Run


@dataclass
class Clock:
    """Steps and seconds so far, kept in checkpoints; monotonic, so a clock that is set back harms nothing."""

    step: int = 0
    before: float = 0.0
    start: float = 0.0

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.start


class Seat:
    """One player with what its training needs: optimiser, average, and how often it has moved."""

    def __init__(self, player: Player, model: nn.Module, run: Run):
        own = {id(p) for p in player.parameters()}
        self.player, self.count = player, 0
        self.parameters = {name: p for name, p in model.named_parameters() if id(p) in own}
        t = run.training
        self.optimiser = Optimiser(self.parameters, t.optimiser, t.betas, t.weight_decay)
        self.average = Average(self.parameters if player.ema else {}, t.ema)


class Session:
    """One process's part in one run: the model on its device, a seat for each player, and the state of the loop."""

    def __init__(self, run: Run, dataset: Dataset, model: Model, processes: Processes):
        self.run, self.dataset, self.model, self.processes = run, dataset, model, processes
        model.to(processes.device)
        self.precision = resolve_precision(run.training.precision, processes.device, isinstance(model.spec.x, Image))
        self.seats = [Seat(player, model, run) for player in model.players()] if isinstance(model, Learns) else []
        owned = {id(p) for seat in self.seats for p in seat.parameters.values()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in owned)
        learning(model)
        self.order = Order(run.seed, dataset.train)
        self.clock = Clock(start=time.perf_counter())
        self.damping, self.scale, self.good = 1.0, 2.0**16 if self.precision == "fp16" else 1.0, 0
        self.window: dict[str, tuple[float, int]] = {}
        self.best: tuple[float, dict[str, Tensor]] | None = None
        if run.training.monitor is not None and len(self.seats) > 1:
            raise UsageError(
                "training.monitor: the loss of one of two players says nothing of the samples. Leave it out."
            )
        shares = processes.count * run.training.accumulate
        if run.training.batch % shares:
            raise UsageError(
                f"training.batch={run.training.batch} does not divide among {processes.count} processes x "
                f"{run.training.accumulate} micro-batches: make it a multiple of {shares}."
            )

    def fitted(self) -> dict[str, Any]:
        """The run as plain values, its model's with the sizes and strengths that were found for the data."""
        return self.run.model_copy(update={"model": self.model.config}).model_dump(mode="json")

    # -- time -----------------------------------------------------------------------------------------------------

    def progress(self, seconds: float) -> float:
        """How much of the run is over, in [0, 1]: by steps, or by the clock."""
        t = self.run.training
        if t.steps is not None:
            return min(self.clock.step / t.steps, 1.0)
        return min(seconds / (60 * (t.minutes or 1)), 1.0)

    def seconds_left(self, progress: float, seconds: float) -> float | None:
        return seconds * (1 - progress) / progress if progress > 0 else None

    # -- one step -------------------------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The global batch of a step: a pure function of (seed, step)."""
        size = self.run.training.batch
        rows = self.order.rows(step * size, (step + 1) * size)
        batch = self.dataset.train.gather(rows, seed_of(self.run.seed, step, "draw")).suited(self.model.spec)
        if self.run.training.flip and batch.x.ndim == 4:
            generator = torch.Generator().manual_seed(seed_of(self.run.seed, step, "flip"))
            mirrored = torch.rand(len(batch), generator=generator) < 0.5
            batch = replace(batch, x=mirror(batch.x, mirrored), c=self._mirrored(batch.c, mirrored))
        return batch

    def _mirrored(self, c: Mapping[str, Tensor], which: Tensor) -> dict[str, Tensor]:
        """Conditions that are pictures turn with the pictures they belong to."""
        parts = self.model.spec.c
        return {key: mirror(v, which) if isinstance(parts[key], Image | Masks) else v for key, v in c.items()}

    def take_step(self, progress: float) -> None:
        """Every player whose turn and time it is moves once. Raises Diverged before an update that is not finite."""
        step, batch = self.clock.step, self.batch(self.clock.step)
        for seat in self.seats:
            begin, end = seat.player.span
            if step % seat.player.every == 0 and begin <= progress < end:
                self._move(seat, batch, step, (progress - begin) / (end - begin))
        self.clock.step += 1

    def _move(self, seat: Seat, batch: Batch, step: int, progress: float) -> None:
        player, t = seat.player, self.run.training
        parameters = list(seat.parameters.values())
        turn = Turn(seat.count, progress, self.processes.mean, len(self.dataset.train), self.processes.gather)
        with only(seat.parameters, self.model if len(self.seats) > 1 else None):
            for p in parameters:
                p.grad = None
            parts = self._backward(player, batch, turn, step)
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        names, values = list(parts), torch.stack(list(parts.values()))
        grads: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        self.processes.average([*grads, values])
        if self.scale != 1.0:
            torch._foreach_div_(grads, self.scale)
        norm = torch.stack(torch._foreach_norm(grads)).norm()
        figures = dict(zip([*names, "gradient_norm"], torch.cat([values, norm.view(1).float()]).tolist()))
        if not self._finite(seat, figures, step, batch):
            return
        if t.clip is not None and figures["gradient_norm"] > t.clip:
            torch._foreach_mul_(grads, t.clip / (norm + 1e-6))
        seat.optimiser.step(t.rate(progress) * player.rate * self.damping)
        seat.count += 1
        seat.average.update(t.batch, (step + 1) * t.batch)
        prefix = f"{player.name}." if len(self.seats) > 1 else ""
        for name, value in figures.items():
            total, count = self.window.get(prefix + name, (0.0, 0))
            self.window[prefix + name] = (total + value, count + 1)

    def _backward(self, player: Player, batch: Batch, turn: Turn, step: int) -> dict[str, Tensor]:
        """Accumulates gradients over this process's micro-batches; returns the mean figures."""
        count, rank = self.run.training.accumulate, self.processes.rank
        size = len(batch) // (count * self.processes.count)
        totals: dict[str, Tensor] = {}
        for micro in range(count):
            torch.manual_seed(seed_of(self.run.seed, step, player.name, micro, rank))
            first = (rank * count + micro) * size
            part = batch[first : first + size].to(self.processes.device)
            with autocast(self.precision, self.processes.device):
                loss = player.loss(part, replace(turn, part=micro, parts=count))
            (loss.value.float() * (self.scale / count)).backward()
            for name, value in figures_of(loss).items():
                totals[name] = totals.get(name, 0.0) + value / count
        return totals

    def _finite(self, seat: Seat, figures: Mapping[str, float], step: int, batch: Batch) -> bool:
        """True to go on with the update; False to skip it (fp16 overflow: the scale halves)."""
        finite = all(abs(value) < float("inf") for value in figures.values())  # NaN compares false
        if self.precision == "fp16":
            if not finite and self.scale > 1 / 64 and abs(figures["loss"]) < float("inf"):
                self.scale, self.good = self.scale / 2, 0
                return False
            self.good += 1
            if self.good == 2000:
                self.scale, self.good = min(self.scale * 2, 2.0**24), 0
        if finite:
            return True
        bad = [n for n, p in seat.parameters.items() if not torch.isfinite(p).all()]
        bad += [f"the gradient of {n}" for n, p in seat.parameters.items() if not torch.isfinite(_grad(p)).all()]
        where = bad[0] if bad else "the loss"
        error = Diverged(
            f"step {step + 1}, {seat.player.name}: {where} is not finite; nothing was updated. "
            f"Rows of the batch: {batch.rows[:8].tolist()}... Try training.lr={self.run.training.lr / 3:.2g}, "
            "--precision fp32, or --remedy, which goes back to the last checkpoint with half the learning rate."
        )
        error.rows = batch.rows.tolist()  # type: ignore[attr-defined]
        raise error

    # -- state ----------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        files = {"weights": self.trained_tensors(), "average": {}}
        for seat in self.seats:
            files["average"] |= seat.average.tensors()
            files[f"optimiser-{seat.player.name}"] = seat.optimiser.tensors()
        if self.best is not None:
            files["best"] = self.best[1]
        return files

    def trained_tensors(self) -> dict[str, Tensor]:
        """What a run changes: parameters some player owns, and buffers; frozen parts are written once elsewhere."""
        frozen = {n for n, p in self.model.named_parameters() if not p.requires_grad}
        return {n: t for n, t in model_tensors(self.model).items() if n not in frozen}

    def state(self) -> dict[str, Any]:
        return {
            "step": self.clock.step,
            "seconds": self.clock.seconds,
            "counts": {seat.player.name: seat.count for seat in self.seats},
            "window": self.window,
            "damping": self.damping,
            "scale": self.scale,
            "good": self.good,
            "best": self.best[0] if self.best else None,
            "processes": self.processes.count,
        }

    @torch.no_grad()
    def restore(self, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
        try:
            load_model_tensors(self.model, {**model_tensors(self.model), **files["weights"]})
            for seat in self.seats:
                seat.average.load(dict(files["average"]))
                seat.optimiser.load(files[f"optimiser-{seat.player.name}"])
                seat.count = state["counts"][seat.player.name]
            self.clock = Clock(state["step"], state["seconds"], time.perf_counter())
            self.window = {name: (total, count) for name, (total, count) in state["window"].items()}
            self.damping, self.scale, self.good = state["damping"], state["scale"], state["good"]
            self.best = (state["best"], dict(files["best"])) if state["best"] is not None else None
        except (KeyError, RuntimeError) as error:
            raise InvalidCheckpoint(f"the checkpoint is not one of this run: {error}") from None

    @contextmanager
    def published(self) -> Iterator[Model]:
        """The model as it would be published: averaged weights, evaluation mode, random state left as it was."""
        devices = [self.processes.device] if self.processes.device.type == "cuda" else []
        with torch.random.fork_rng(devices), ExitStack() as stack:
            for seat in self.seats:
                stack.enter_context(seat.average.applied())
            self.model.eval()
            stack.callback(learning, self.model)
            yield self.model

    def watch_held_out(self) -> float:
        """The first player's loss on up to 1,024 held-out rows; the weights best at it are kept."""
        split = self.dataset.held_out
        rows = np.arange(min(len(split), 1024))
        with self.published(), torch.no_grad(), autocast(self.precision, self.processes.device):
            torch.manual_seed(seed_of(self.run.seed, "monitor"))
            batch = split.gather(rows).suited(self.model.spec).to(self.processes.device)
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            value = float(self.seats[0].player.loss(batch, Turn(self.seats[0].count, 1.0)).value)
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])
            if self.best is None or value < self.best[0]:
                self.best = (value, {k: v.detach().clone() for k, v in self.trained_tensors().items()})
        return value


def learning(model: Model) -> None:
    """Training mode, but for the parts of which nothing is learned: their statistics stay what they are."""
    model.train()
    for module in model.modules():
        if (parameters := [*module.parameters()]) and not any(p.requires_grad for p in parameters):
            module.eval()


def mirror(x: Tensor, which: Tensor) -> Tensor:
    """Pictures `(B, ..., W)` turned left to right where `which` `(B,)` is true."""
    return torch.where(which.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def figures_of(loss: Loss) -> dict[str, Tensor]:
    return {"loss": loss.value.detach().float(), **{k: v.detach().float() for k, v in loss.parts.items()}}


@contextmanager
def only(parameters: Mapping[str, nn.Parameter], model: nn.Module | None) -> Iterator[None]:
    """Within it, gradients reach only these parameters of the model: the other players are frozen."""
    others = [p for n, p in model.named_parameters() if n not in parameters and p.requires_grad] if model else []
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


def _grad(p: nn.Parameter) -> Tensor:
    return p.grad if p.grad is not None else torch.zeros(())


def seed_of(*words: Any) -> int:
    """A seed that is a function of all of these."""
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
