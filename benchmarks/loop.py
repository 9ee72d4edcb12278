"""What the loop costs: figment's, and that of pythae, each over a bare loop that does the same work."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.measure import in_turn, record, table
from figment.core.data import ArraySplit, Dataset, Image, Spec
from figment.core.model import Learns, Turn
from figment.core.processes import autocast, resolve_precision
from figment.core.run import Run, RunFolder
from figment.core.training import training
from figment.workbench import build

STEPS, BATCH = 5, 64


def pictures(count: int = 20_000) -> Dataset:
    generator = np.random.default_rng(0)
    spec = Spec(name="noise", x=Image(channels=1, height=28, width=28))
    x = generator.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return Dataset(spec, {"train": ArraySplit(spec, x, {})}, content="noise")


def bare(run: Run, dataset: Dataset) -> Callable[[], None]:
    """The same gather, loss, clip, fused AdamW and average, with nothing around them."""
    model = build(run, dataset)
    assert isinstance(model, Learns)
    player, order, split = model.players()[0], np.random.default_rng(0), dataset.train
    parameters = player.parameters()
    optimiser = torch.optim.AdamW(parameters, 1e-4, betas=(0.9, 0.99), fused=True)
    averages = [p.detach().clone() for p in parameters]
    precision = resolve_precision("auto", torch.device("cpu"), True)

    def steps() -> None:
        for count in range(STEPS):
            batch = split.gather(order.integers(0, len(split), BATCH))
            with autocast(precision, torch.device("cpu")):
                loss = player.loss(batch, Turn(count, 0.0))
            loss.value.backward()
            clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 0.01)

    return steps


def pythae_loops(folder: str) -> dict[str, Callable[[], object]]:
    """An epoch of pythae's trainer on its own VAE, and of a bare loop on a copy."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    x = torch.rand(STEPS * BATCH, 1, 28, 28)
    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16))
    config = BaseTrainerConfig(folder, num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True)
    trainer = BaseTrainer(deepcopy(model), BaseDataset(x, torch.zeros(len(x))), training_config=config)
    trainer.prepare_training()
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)

    def steps() -> None:
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            model({"data": x[rows]}).loss.backward()
            optimiser.step()

    return {"pythae's trainer": lambda: trainer.train_step(1), "bare": steps}


def main() -> None:
    dataset, tables = pictures(), []
    for kind in ("vae", "diffusion"):
        settings = {"steps": 10**6, "batch": BATCH, "previews": 0, "checkpoint_seconds": 1e9, "optimiser": "adamw"}
        run = Run.model_validate(
            {"model": {"kind": kind, "size": "tiny"}, "data": {"kind": "digits"}, "training": settings}
        )
        with tempfile.TemporaryDirectory() as folder:
            model = build(run, dataset)
            with training(run, RunFolder(Path(folder)), dataset, model, device="cpu") as events:
                ours = lambda events=events: [next(events) for _ in range(STEPS)]  # noqa: E731
                timings = in_turn({"figment's loop": ours, "bare": bare(run, dataset)}, rounds=15)
        tables.append(table(f"{STEPS} steps of `{kind}`, 1x28x28, batch {BATCH}", timings, "bare"))
    try:
        with tempfile.TemporaryDirectory() as folder:
            timings = in_turn(pythae_loops(folder), rounds=7)
        tables.append(table(f"{STEPS} steps of pythae's VAE (a perceptron)", timings, "bare"))
    except ImportError:
        print("pythae is not installed: left out", file=sys.stderr)
    record("loop", "\n\n".join(tables))


if __name__ == "__main__":
    main()
