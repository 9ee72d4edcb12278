"""Codes that are independent under the prior are no separate factors: a turn of all codes fits it just as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.core.data import Factors
from figment.explorer.scene import Scene
from figment.latent.disentanglement import Informed, informed
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import Panel, bars, pictures, plate
from figment.models.autoencoders.likelihoods import diagonal_gaussian_log_density
from figment.pictures import COLOURS, INK

STEPS, LATENT, SIDE = 3200, 10, 16  # steps of small pictures, numbers of a code, pixels a side
CODED = 4000  # held-out pictures whose codes are looked at
SWEPT, REACH, SHOWN = 11, 2.5, 3  # pictures of a sweep, how far it goes, and factors swept
KINDS: dict[str, dict[str, Any]] = {
    "diagonal prior": {},
    "beta = 4": {"model__beta": 4.0},
    "total correlation": {"model__objective": "tc", "model__beta": 8.0},
}
PLAIN, TC = "diagonal prior", "total correlation"


@dataclass(frozen=True)
class Coded:
    """A model, draws z of its codes `(N, d)`, and what each number of them knows of each factor, before and after a
    turn z -> U z."""

    scene: Scene
    z: Tensor
    turned: Tensor
    straight: Informed
    mixed: Informed

    @classmethod
    def of(cls, scene: Scene, turn: Tensor) -> Coded:
        batch = scene.dataset.held_out.gather(np.arange(min(CODED, len(scene.dataset.held_out))))
        factors, values = scene.dataset.spec.c["attributes"], batch.c["attributes"].numpy()
        assert isinstance(factors, Factors)
        with torch.no_grad():
            q = scene.model.posterior(batch.x, {})
            z = q.mean + q.stddev * torch.randn(q.mean.shape, generator=torch.Generator().manual_seed(scene.seed))
        turned = z @ turn.T
        return cls(scene, z, turned, *(informed(codes.numpy(), values, factors) for codes in (z, turned)))

    @property
    def moved(self) -> float:
        """By how many nats log N(z; 0, I) changes with the turn, at most."""
        zero = torch.zeros_like(self.z).double()
        before, after = (diagonal_gaussian_log_density(z.double(), zero, zero) for z in (self.z, self.turned))
        return float((before - after).abs().max())

    def swept(self, factor: int) -> np.ndarray:
        """What the number that knows most of a factor draws, the others at 0: uint8 `(SWEPT, H, W, C)`."""
        z = torch.zeros(SWEPT, self.z.shape[1])
        z[:, int(self.straight.shares[factor].argmax())] = torch.linspace(-REACH, REACH, SWEPT)
        with torch.no_grad():
            return self.scene.model.spec.x.to_user(self.scene.model.decode(z, {}))


def turn_of(dimensions: int, seed: int) -> Tensor:
    """A random rotation or reflection U `(d, d)`, uniform over all: Haar's measure."""
    drawn = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return (q * r.diagonal().sign()).float()


def make(stage: Stage) -> Told:
    common = {"data__size": SIDE, "model__size": "tiny", "model__latent": LATENT, "model__sigma": 0.3,
              "training__batch": 64, "training__optimiser": "muon", "training__lr": 5e-3}  # fmt: skip
    turn = turn_of(LATENT, stage.seed)
    found = {
        name: Coded.of(stage.scene(f"vae-{name.replace(' ', '-')}", "vae", STEPS, **common, **settings), turn)
        for name, settings in KINDS.items()
    }
    mig = {name: (coded.straight.mig, coded.mixed.mig) for name, coded in found.items()}
    moved = max(coded.moved for coded in found.values())
    claims = [
        Claim("A turn of all codes leaves their density under the prior as it was",
              f"log p(z) changes by {moved:.0e} nats at most", moved < 1e-3),
        Claim("and takes away what single numbers know", f"gap {mig[TC][0]:.2f} before, {mig[TC][1]:.2f} after",
              mig[TC][1] < 0.6 * mig[TC][0]),
        Claim("A diagonal prior alone keeps less apart than a weight on dependence does", f"gap {mig[PLAIN][0]:.2f} "
              f"against {mig[TC][0]:.2f}", mig[TC][0] > mig[PLAIN][0]),
    ]  # fmt: skip
    best = found[TC].straight.gaps.argsort()[::-1][:SHOWN]
    shown = [found[TC].straight.names[k] for k in best]
    strips = np.concatenate([found[name].swept(int(k)) for k in best for name in (PLAIN, TC)])
    names = [f"{factor}: {name}" for factor in shown for name in ("plain", "weighted")]
    bars_of = {f"{name}{end}": value for name, pair in mig.items() for end, value in zip(("", ", turned"), pair)}
    rows = [
        [_table(found[PLAIN].straight, "Diagonal prior"), _table(found[TC].straight, "Weight on total correlation"),
         _table(found[TC].mixed, "The same, codes turned", named=False)],
        [pictures("The number that knows most of a factor", strips, SWEPT, "Swept from -2.5 to 2.5, others at 0: in "
                  "the plain model other factors go along.", 1.5, names, 1.75),
         bars("Mutual information gap", bars_of, "How far the best number is ahead of the next, mean over factors.",
              colours=[COLOURS[2], COLOURS[1]] * len(mig), form="{:.2f}")],
    ]  # fmt: skip
    text = TEXT.format(
        moved=moved, plain=mig[PLAIN][0], beta=mig["beta = 4"][0], tc=mig[TC], factors=" and ".join(shown)
    )
    return Told(plate(LESSON.title, LESSON.teaches, rows), text, {"gap": mig, "moved": moved, "shown": shown}, claims)


def _table(known: Informed, heading: str, named: bool = True) -> Panel:
    """What each number of a code (across) knows of each factor (down)."""

    def draw(axes: Any) -> None:
        axes.imshow(known.shares, cmap="Greens", vmin=0, vmax=0.8, aspect="auto")
        axes.set_yticks(range(len(known.names)), known.names, color=INK, fontsize=9)
        axes.set_xticks(range(known.shares.shape[1]), [str(j + 1) for j in range(known.shares.shape[1])])
        axes.grid(visible=False)

    caption = (
        f"Share of a factor (down) that a number of the code (across) knows: white 0, dark 0.8. Gap {known.mig:.2f}."
    )
    return Panel(heading, draw, caption, 3.0, 1.0, (0.95, 0.25))


TEXT = """
A VAE's prior is N(0, I): the numbers of a code are independent under it. One lecture concludes that they are therefore
separate factors of the data. They need not be. N(0, I) looks the same from all sides: turn every code by the same
rotation, and turn back before decoding, and no picture, no likelihood, no distance to the prior changes (here
log p(z) by {moved:.0e} nats). Yet each number is now a mixture of what several meant. The gap, how far the number that
knows most of a factor is ahead of the next, falls from {tc[0]:.2f} to {tc[1]:.2f}. Nothing the bound measures can tell
the two models apart, so nothing in it can prefer the one with factors apart.

What training finds without help has a gap of {plain:.2f}; weights of other terms help, without a promise: {beta:.2f}
with four times the divergence, {tc[0]:.2f} with eight times the part of it that measures dependence. The strips sweep
the number that knows most of {factors}, in the plain model and in the last one.

That is luck and taste of networks, and of the seed. Without labels, or an assumption about the data, it cannot be had
for sure.
"""

LESSON = Lesson(
    name="diagonal-prior",
    title="Independent codes are no separate factors",
    source="Deck 004, 'Disentanglement'. F. Locatello et al., 'Challenging common assumptions in the unsupervised "
    "learning of disentangled representations' (2019); R. Chen et al., 'Isolating sources of disentanglement' (2018)",
    teaches="A prior with a diagonal covariance does not disentangle: any turn of the codes fits it just as well.",
    make=make,
    data="faces",
    needs=("pictures", "attributes"),
)
