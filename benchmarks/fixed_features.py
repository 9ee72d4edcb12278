"""Trains the feature network shipped with figment on pictures drawn here: no data, no network, one seed.

    python benchmarks/fixed_features.py [--steps N] [--out FILE]

Each picture is a textured ground with one or two textured shapes or pen strokes on it, then blurred, made grey, or made
noisy. The network reads back how it was drawn: kinds by cross-entropy, places, sizes, colours and frequencies by
squared error. Its recipe and hash are in docs/features.md.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from figment.core.optimisers import Optimiser
from figment.core.processes import autocast, resolve_precision
from figment.nn.features import Features, network_for

SIDE, WIDTH = 32, 128
BATCH = 128
TEXTURES, SHAPES, BLURS, NOISES = 8, 9, (0.0, 0.5, 1.0, 1.5), (0.0, 0.01, 0.03, 0.1)
KINDS = {"ground": TEXTURES, "first": SHAPES, "fill": TEXTURES, "second": SHAPES + 1, "blur": 4, "noise": 4}
WEIGHTS = {"blur": 0.1, "noise": 0.1}  # easy to read and loud in the features: at 1 they drown what is drawn
NUMBERS = 20


def coordinates(n: int) -> tuple[Tensor, Tensor]:
    """x and y of pixel centres in [-1, 1], `(n, SIDE, SIDE)`."""
    axis = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.expand(n, -1, -1), y.expand(n, -1, -1)


def column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = column(angle.cos()), column(angle.sin())
    return cos * x + sin * y, cos * y - sin * x


def pick(options: list[Tensor], kind: Tensor) -> Tensor:
    return torch.stack(options)[kind, torch.arange(len(kind))]


def texture(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """A field in [0, 1] `(n, SIDE, SIDE)`, its kind `(n,)` and the log of its frequency `(n,)`."""
    kind, octave = torch.randint(TEXTURES, (n,)), torch.rand(n) * 2.5
    x, y = turned(*coordinates(n), torch.rand(n) * math.pi)
    w, phase = column(math.pi * 2**octave), column(torch.rand(n) * 2 * math.pi)
    rough = [F.interpolate(torch.rand(n, 1, s, s), (SIDE, SIDE), mode="bicubic")[:, 0] for s in (4, 12)]
    waves, across = torch.sin(w * x + phase), torch.sin(w * y + phase)
    fields = [
        torch.full_like(x, 0.5),
        (x + 1) / 2,
        (x.square() + y.square()).sqrt() / 1.4,
        (waves + 1) / 2,
        torch.sigmoid(8 * waves * across),
        torch.sigmoid(12 * (waves + across - 1)),
        *rough,
    ]
    return pick(fields, kind).clamp(0, 1), kind, octave / 2.5


def shape(n: int, kinds: int = SHAPES) -> tuple[Tensor, Tensor, Tensor]:
    """Coverage in [0, 1] `(n, SIDE, SIDE)`, the kind `(n,)` (the last of SHAPES + 1 is none), and place and size
    `(n, 3)`."""
    kind, place = torch.randint(kinds, (n,)), torch.rand(n, 2) * 1.2 - 0.6
    size = 0.2 + 0.6 * torch.rand(n)
    x, y = coordinates(n)
    x, y = turned(x - column(place[:, 0]), y - column(place[:, 1]), torch.rand(n) * 2 * math.pi)
    r, radius, angle = column(size), (x.square() + y.square()).sqrt(), torch.atan2(y, x)
    square = torch.maximum(x.abs(), y.abs())
    bend = column(torch.randn(n))
    inside = [
        r - radius,
        0.85 * r - square,
        0.6 * r - torch.maximum(x.abs() * 0.87 + y / 2, -y),
        0.25 * r - (radius - 0.8 * r).abs(),
        r * (0.65 + 0.35 * torch.cos(5 * angle)) - radius,
        torch.maximum(0.3 * r - x.abs(), 0.3 * r - y.abs()).minimum(r - square),
        r - (x.square() + 6 * y.square()).sqrt(),
        (0.12 - (y - bend * x.square() / r).abs()).minimum(r - x.abs()),
        (0.12 - (y - 0.5 * r * torch.sin(3 * x / r + bend)).abs()).minimum(r - x.abs()),
        torch.full_like(x, -1.0),
    ]
    numbers = torch.cat([place, size[:, None]], 1) * (kind < SHAPES)[:, None]
    return torch.sigmoid(SIDE * pick(inside[:kinds], kind)), kind, numbers  # an edge two pixels wide


def coloured(field: Tensor) -> tuple[Tensor, Tensor]:
    """Two random colours mixed by a field: `(n, 3, SIDE, SIDE)` and their mean `(n, 3)`."""
    ends = torch.rand(2, len(field), 3)
    mixed = torch.lerp(ends[0][:, :, None, None], ends[1][:, :, None, None], field[:, None])
    return mixed, ends.mean(0)


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian blur of its own for each picture."""
    reach = torch.arange(-4, 5)
    weights = torch.exp(-0.5 * (reach / sigma.clamp_min(1e-2)[:, None]).square())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None, None]
    flat = F.pad(x, (4,) * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(F.conv2d(flat, weights, groups=len(weights)), weights.mT, groups=len(weights))
    return flat.view(x.shape)


def draw(n: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Pictures `(n, 3, SIDE, SIDE)` in [-1, 1], the kinds `(n,)` in them, and the numbers `(n, NUMBERS)`."""
    ground, ground_kind, ground_octave = texture(n)
    fill, fill_kind, fill_octave = texture(n)
    picture, ground_colour = coloured(ground)
    picture = torch.where(torch.rand(n, 1, 1, 1) < 0.3, picture.round(), picture)
    inner, inner_colour = coloured(fill)
    first, first_kind, first_numbers = shape(n)
    second, second_kind, second_numbers = shape(n, SHAPES + 1)
    other, other_colour = coloured(torch.zeros_like(fill))
    picture = torch.lerp(picture, other, second[:, None])
    picture = torch.lerp(picture, inner, first[:, None])
    grey = (torch.rand(n) < 0.4).float()
    picture = torch.lerp(picture, picture.mean(1, keepdim=True), grey.view(-1, 1, 1, 1))
    blur, noise = torch.randint(len(BLURS), (n,)), torch.randint(len(NOISES), (n,))
    picture = blurred(picture, torch.tensor(BLURS)[blur])
    picture = picture + torch.randn_like(picture) * torch.tensor(NOISES)[noise].view(-1, 1, 1, 1)
    kinds = {"ground": ground_kind, "first": first_kind, "fill": fill_kind, "second": second_kind}
    colours = [torch.lerp(c, c.mean(1, keepdim=True), grey[:, None]) for c in (ground_colour, inner_colour)]
    shown = other_colour * (second_kind < SHAPES)[:, None]
    moments = torch.stack([picture.mean((1, 2, 3)), picture.std((1, 2, 3))], 1)
    octaves = torch.stack([ground_octave, fill_octave], 1)
    numbers = torch.cat([first_numbers, second_numbers, *colours, shown, grey[:, None], octaves, moments], 1)
    return picture.clamp(0, 1) * 2 - 1, {**kinds, "blur": blur, "noise": noise}, numbers


def losses(out: Tensor, kinds: dict[str, Tensor], numbers: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of outputs `(n, sum of KINDS + NUMBERS)`, and the accuracy of each kind."""
    *logits, guessed = out.float().split([*KINDS.values(), NUMBERS], dim=1)
    loss = 10 * F.mse_loss(guessed, numbers)
    for part, (name, truth) in zip(logits, kinds.items()):
        loss = loss + WEIGHTS.get(name, 1.0) * F.cross_entropy(part, truth)
    right = {name: float((part.argmax(1) == kinds[name]).float().mean()) for name, part in zip(KINDS, logits)}
    return loss, {"error": F.mse_loss(guessed, numbers).item(), **right}


def train(steps: int, peak: float = 4e-3, seed: int = 0) -> tuple[Features, dict[str, float]]:
    """The network and its figures on pictures it has not seen."""
    torch.manual_seed(seed)
    network = network_for("plain", 3, (SIDE, SIDE), WIDTH, sum(KINDS.values()) + NUMBERS)
    network.to(memory_format=torch.channels_last)
    optimiser = Optimiser(dict(network.named_parameters()), "muon", (0.9, 0.99), weight_decay=0.02)
    precision, began = resolve_precision("auto", torch.device("cpu"), pictures=True), time.process_time()
    for step in range(steps):
        x, kinds, numbers = draw(BATCH)
        with autocast(precision, x.device):
            out = network(x.to(memory_format=torch.channels_last))
        network.zero_grad(set_to_none=True)
        loss, figures = losses(out, kinds, numbers)
        loss.backward()
        done = (step + 0.5) / steps
        optimiser.step(peak * min(done / 0.2, (1 - done) / 0.8))
        if step % 100 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"step {step}  {time.process_time() - began:.0f} CPU s  loss {loss.item():.3f}  {shown}", flush=True)
    network.eval()
    with torch.no_grad():
        x, kinds, numbers = draw(4096)
        return network, losses(network(x), kinds, numbers)[1]


@torch.no_grad()
def whiten(network: Features, rows: int = 16_384, floor: float = 0.1) -> None:
    """Puts a whitening of the features of drawn pictures into the head, whose outputs are then what is shipped:
    uncorrelated, of mean 0, of equal spread but for directions below `floor` times the mean variance.
    """
    features = torch.cat([network.trunk(draw(BATCH)[0]) for _ in range(rows // BATCH)]).double()
    values, vectors = torch.linalg.eigh(features.T.cov())
    matrix = (vectors / (values + floor * values.mean()).sqrt()).T
    network.head_out = torch.nn.Linear(*matrix.shape)
    network.head_out.weight.copy_(matrix)
    network.head_out.bias.copy_(-matrix @ features.mean(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--out", type=Path, default=Path("src/figment/nn/fixed.safetensors"))
    arguments = parser.parse_args()
    network, figures = train(arguments.steps)
    whiten(network)
    stored = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_file({name: t.contiguous() for name, t in stored.items()}, arguments.out)
    print(figures)
    print("sha256", hashlib.sha256(arguments.out.read_bytes()).hexdigest(), arguments.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
