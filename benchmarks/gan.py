"""What the loop adds to a game of two: figment's step of `gan`, over a bare PyTorch loop of the same networks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.loop import pictures
from benchmarks.measure import in_turn, record, table
from figment.core.data import Dataset
from figment.core.processes import autocast, resolve_precision
from figment.core.run import Run, RunFolder
from figment.core.training import training
from figment.models.adversarial.gan import GAN
from figment.workbench import build

STEPS, BATCH, LAZY = 8, 32, 8  # as many steps as there are between two gradient penalties


def bare(run: Run, dataset: Dataset) -> Callable[[], None]:
    """The relativistic game with R1 + R2 on every eighth step, the energy score and examples drawn again, written out:
    the same networks, batches, precision, fused AdamW and average of the generator's weights, nothing around them."""
    model, order, split = build(run, dataset), np.random.default_rng(0), dataset.train
    assert isinstance(model, GAN)
    generator, encoder, discriminator, latent = model.generator, model.encoder, model.discriminator, model.config.latent
    assert encoder is not None
    players = [[*discriminator.parameters()], [*generator.parameters(), *encoder.parameters()]]
    optimisers = [torch.optim.AdamW(own, 1e-4, betas=(0.0, 0.99), weight_decay=0.0, fused=True) for own in players]
    averages = [p.detach().clone() for p in players[1]]
    precision = resolve_precision("auto", torch.device("cpu"), True)

    def discriminator_loss(real: torch.Tensor, penalised: bool) -> torch.Tensor:
        with torch.no_grad():
            fake = generator(torch.randn(BATCH, latent))
        x = torch.cat([real, fake]).requires_grad_(penalised)
        logits = discriminator(x)
        loss = F.softplus(logits[BATCH:] - logits[:BATCH]).mean()
        if penalised:
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            loss = loss + 0.3 * LAZY * slope.float().flatten(1).square().sum(1).mean()
        return loss

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().sum(1).add(1e-8).sqrt().mean()

    def size(*rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(rows).detach().square().sum(1).mean().sqrt()

    def generator_loss(real: torch.Tensor) -> torch.Tensor:
        seen = discriminator.describe(generator(torch.randn(BATCH, latent)))
        fake = discriminator.judge(seen)
        with torch.no_grad():
            truth = discriminator.describe(real[: BATCH // 2])
            logits = discriminator.judge(truth)
        first, second, truth = *seen.float().chunk(2), truth.float()
        score = (apart(truth, first) + apart(truth, second) - apart(first, second)) / size(truth, first, second)
        return F.softplus(torch.cat([logits, logits]) - fake).mean() + 2 * score + again(real[: BATCH // 2])

    def again(real: torch.Tensor) -> torch.Tensor:
        mean, log_variance = encoder(real)
        drawn = generator(mean + (log_variance / 2).exp() * torch.randn_like(mean))
        with torch.no_grad():
            truth = discriminator.describe(real).float()
        seen, x = discriminator.describe(drawn).float(), real.flatten(1)
        missed = (apart(x, drawn.flatten(1)) / size(x) + apart(truth, seen) / size(truth, seen)) / 2
        kl = (mean.square() + torch.expm1(log_variance) - log_variance).sum(1).mean() / 2
        return 3 * missed + 3e-4 * kl

    def steps() -> None:
        for count in range(STEPS):
            real = split.gather(order.integers(0, len(split), BATCH)).x
            for turn, optimiser in enumerate(optimisers):
                discriminator.requires_grad_(turn == 0)
                with autocast(precision, torch.device("cpu")):
                    loss = generator_loss(real) if turn else discriminator_loss(real, count % LAZY == 0)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            torch._foreach_lerp_(averages, [p.detach() for p in players[1]], 0.01)

    return steps


def main() -> None:
    dataset, tables = pictures(), []
    for size in ("tiny", "small"):
        run = Run.model_validate(
            {
                "model": {"kind": "gan", "size": size, "lazy": LAZY},
                "data": {"kind": "digits"},
                "training": {
                    "steps": 10**6,
                    "batch": BATCH,
                    "previews": 0,
                    "checkpoint_seconds": 1e9,
                    "clip": None,
                    "betas": (0.0, 0.99),
                },
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            model = build(run, dataset)
            with training(run, RunFolder(Path(folder)), dataset, model, device="cpu") as events:
                ours = lambda events=events: [next(events) for _ in range(STEPS)]  # noqa: E731
                timings = in_turn({"figment's loop": ours, "bare": bare(run, dataset)}, rounds=9)
        tables.append(table(f"{STEPS} steps of `gan` ({size}), 1x28x28, batch {BATCH}", timings, "bare"))
    record("gan", "\n\n".join(tables))


if __name__ == "__main__":
    main()
