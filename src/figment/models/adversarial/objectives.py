"""What two players optimise: pure functions of logits (real = 1, fake = 0), and the gradient penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Name = Literal["relativistic", "non-saturating", "hinge", "minimax"]


class Objective(NamedTuple):
    """Losses `()` of the discriminator and of the generator, both from logits `(B,)` of real and of fake examples."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def value(real: Tensor, fake: Tensor) -> Tensor:
    """V = E log D(x) + E log(1 - D(G(z))), D = sigmoid(logit): at most -log 4 where the two distributions agree.

    Goodfellow et al., "Generative adversarial nets" (2014).
    """
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-V: what the discriminator minimises."""
    return -value(real, fake)


def saturating(_: Tensor, fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))): the game's own loss, whose gradient vanishes as D(G(z)) -> 0."""
    return F.logsigmoid(-fake).mean()


def non_saturating(_: Tensor, fake: Tensor) -> Tensor:
    """-E log D(G(z)): the same fixed point, with a gradient where the generator is losing (Goodfellow 2014, 3)."""
    return -F.logsigmoid(fake).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - real) + E max(0, 1 + fake) (Lim & Ye, "Geometric GAN", 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def critic(_: Tensor, fake: Tensor) -> Tensor:
    """-E fake: raise the logit of what is generated."""
    return -fake.mean()


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(real - fake) over pairs: a fake is judged against a real example, so that every mode counts.

    Jolicoeur-Martineau, "The relativistic discriminator" (2019); Huang et al., "The GAN is dead; long live the GAN!
    A modern baseline GAN" (2024).
    """
    return -F.logsigmoid(real - fake).mean()


OBJECTIVES: dict[Name, Objective] = {
    "relativistic": Objective(relativistic, lambda real, fake: relativistic(fake, real)),
    "non-saturating": Objective(cross_entropy, non_saturating),
    "hinge": Objective(hinge, critic),
    "minimax": Objective(cross_entropy, saturating),
}


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """|dD/dx|^2 `(B,)` of logits `(B,)` computed from `x` `(B, ...)`, itself differentiable.

    On real examples it is R1, on generated ones R2 (Mescheder et al., "Which training methods for GANs do actually
    converge?", 2018).
    """
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.float().flatten(1).square().sum(1)


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """How often a real example has the higher logit of a pair: 1/2 when the discriminator knows nothing."""
    return (real > fake).float().mean()
