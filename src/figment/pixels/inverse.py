"""An encoder of a generator that has none, learned from what it draws: where the search for a picture's code begins."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.core.data import Image, Spec
from figment.core.model import HasPrior
from figment.core.noise import Noise
from figment.core.processes import autocast, resolve_precision
from figment.core.progress import Watch, unwatched
from figment.evaluate import cache
from figment.nn.backbone import encoder_for

LESSONS, BATCH = 400, 32  # steps it learns in, and samples in each
RATE, WIDTH, BLOCKS = 2e-3, 32, 1
SCALES = 4


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference at full size, 1/2, 1/4 and 1/8 of it, summed: `(B, ...)` twice -> `(B,)`.

    The coarse sizes see a shape that is a few pixels off as near, which single pixels do not.
    """
    difference, total = (x - y).float(), x.new_zeros(len(x))
    for _ in range(SCALES):
        total = total + difference.square().flatten(1).mean(1)
        if difference.ndim < 4 or min(difference.shape[2:]) < 2:
            break
        difference = F.avg_pool2d(difference, 2)
    return total


class Inverse(nn.Module):
    """x `(B, ...)` -> codes `(B, d)` of length sqrt(d), where N(0, I) has its mass, and logits `(B, K)` of labels."""

    def __init__(self, spec: Spec, dimensions: int):
        super().__init__()
        self.dimensions, self.labels = dimensions, spec.label.count if spec.label else 0
        self.network = encoder_for(spec.x.shape, dimensions + self.labels, WIDTH, BLOCKS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        z, logits = self.network(x, None).float().split((self.dimensions, self.labels), dim=1)
        return F.normalize(z, dim=1) * self.dimensions**0.5, logits if self.labels else None


def inverse_of(model: HasPrior, spec: Spec, device: torch.device, watch: Watch = unwatched) -> Inverse | None:
    """The encoder of a generator, learned once and kept in the cache under what it draws; None where codes are no rows.

    It minimises E distance(x, decode(encode(x))) - log q(y | x) over samples x of labels y. Zhu et al., "In-domain GAN
    inversion for real image editing" (2020).
    """
    z, label, x = _drawn(model, spec, range(4), device)
    if z.ndim != 2:
        return None
    inverse = Inverse(spec, z.shape[1]).to(device)
    fingerprint = hashlib.sha256(x.cpu().numpy().tobytes()).hexdigest()
    key = cache.key("inverse", LESSONS, BATCH, RATE, WIDTH, BLOCKS, fingerprint)
    kept = cache.read(key)
    if kept is not None:
        inverse.load_state_dict(kept[0])
        return inverse.eval()
    with torch.random.fork_rng(), torch.enable_grad(), watch("learning to encode", LESSONS) as advance:
        torch.manual_seed(0)
        inverse = Inverse(spec, z.shape[1]).to(device)
        optimiser = torch.optim.AdamW(inverse.parameters(), RATE, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, LESSONS)
        for step in range(LESSONS):
            _, label, x = _drawn(model, spec, range(BATCH * step, BATCH * (step + 1)), device)
            with autocast(resolve_precision("auto", device, isinstance(spec.x, Image)), device):
                z, logits = inverse(x)
                c = {} if label is None else {"label": label}
                loss = distance(model.decode(z, c), x).mean()
            if logits is not None and label is not None:
                loss = loss + F.cross_entropy(logits, label)
            optimiser.zero_grad()
            loss.backward(inputs=list(inverse.parameters()))
            optimiser.step()
            schedule.step()
            advance(1)
    cache.write(key, inverse.state_dict(), {})
    return inverse.eval()


@torch.no_grad()
def _drawn(model: HasPrior, spec: Spec, rows: range, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
    """Codes, labels and what they decode to, of samples `rows` that `figment sample` does not draw."""
    noise = Noise(0, rows, "inverse", device)
    c = {key: value.to(device) for key, value in spec.conditions(noise.to("cpu")).items()}
    z = model.prior(c, noise)
    return z, c.get("label"), model.decode(z, c).float()
