"""What two players optimise: pure functions of logits, where real = 1 and drawn = 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Name = Literal["relativistic", "non-saturating", "minimax", "least-squares", "hinge", "wasserstein"]


class Objective(NamedTuple):
    """Losses `(B,)` of logits `(B,)`: `real` of what the discriminator should call real, `fake` of what it should call
    drawn, `generator` of what the generator wants called real. Where `paired`, a logit is a difference: of a real
    example from a drawn one, and for the generator the reverse."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    paired: bool = False

    def discriminator_loss(self, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
        """The discriminator's loss `()` from logits `(B,)` of real and of drawn examples.

        `smoothing` is the share s of a real example that counts as drawn: the target of real examples is 1 - s
        (Salimans et al., "Improved techniques for training GANs", 2016).
        """
        logit = real - fake if self.paired else real
        loss = self.real(logit).mean()
        if smoothing:
            loss = loss.lerp(self.fake(logit).mean(), smoothing)
        return loss if self.paired else loss + self.fake(fake).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The generator's loss `()` from logits `(B,)` of real and of drawn examples."""
        return self.generator(fake - real if self.paired else fake).mean()


def value(real: Tensor, fake: Tensor) -> Tensor:
    """V = E log D(x) + E log(1 - D(G(z))), D = sigmoid(logit): at most -log 4 where the two distributions agree.

    Goodfellow et al., "Generative adversarial nets" (2014).
    """
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


def called_real(logit: Tensor) -> Tensor:
    """-log D: cross-entropy to the answer "real". As the generator's loss it does not saturate: where D(G(z)) -> 0 its
    gradient stays (Goodfellow et al. 2014, section 3)."""
    return -F.logsigmoid(logit)


def called_fake(logit: Tensor) -> Tensor:
    """-log(1 - D): cross-entropy to the answer "drawn"."""
    return -F.logsigmoid(-logit)


def saturating(logit: Tensor) -> Tensor:
    """log(1 - D(G(z))): the game's own loss of the generator, whose gradient vanishes as D(G(z)) -> 0."""
    return F.logsigmoid(-logit)


def above_one(logit: Tensor) -> Tensor:
    """max(0, 1 - logit)."""
    return F.relu(1 - logit)


def near_one(logit: Tensor) -> Tensor:
    """(logit - 1)^2."""
    return (logit - 1).square()


OBJECTIVES: dict[Name, Objective] = {
    # Jolicoeur-Martineau, "The relativistic discriminator" (2019); Huang et al., "The GAN is dead; long live the GAN!
    # A modern baseline GAN" (2024): a drawn example is judged against a real one, so that every mode counts.
    "relativistic": Objective(called_real, called_fake, called_real, paired=True),
    "non-saturating": Objective(called_real, called_fake, called_real),
    "minimax": Objective(called_real, called_fake, saturating),
    # Mao et al., "Least squares generative adversarial networks" (2017)
    "least-squares": Objective(near_one, torch.square, near_one),
    # Lim & Ye, "Geometric GAN" (2017)
    "hinge": Objective(above_one, lambda logit: above_one(-logit), torch.neg),
    # Arjovsky et al., "Wasserstein GAN" (2017): with slopes of at most 1, -loss is at most the distance of the two
    "wasserstein": Objective(torch.neg, lambda logit: logit, torch.neg),
}


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """How often a real example has the higher logit of a pair: 1/2 when the discriminator knows nothing."""
    return (real > fake).float().mean()


def apart(a: Tensor, b: Tensor) -> Tensor:
    """E |a - b| `()` of pairs `(B, F)`."""
    return ((a - b).square().sum(1) + 1e-8).sqrt().mean()


def size(*rows: Tensor) -> Tensor:
    """The root `()` of the mean of |x|^2 over all rows `(B, F)`, without a gradient: what distances are measured in."""
    return torch.cat(rows).detach().square().sum(1).mean().sqrt() + 1e-8


def energy_score(real: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """E |x - a| + E |x - b| - E |a - b| `()` of descriptions `(B, F)` of real examples x and of two that were drawn for
    each, a and b, independently and of its label.

    In expectation it is least where a and b are distributed as x is, label by label: drawn too much alike, or too
    little, they score worse. Gneiting & Raftery, "Strictly proper scoring rules, prediction, and estimation" (2007).
    """
    return apart(real, first) + apart(real, second) - apart(first, second)


def coverage(real: Tensor, fake: Tensor) -> Tensor:
    """The share of real examples `(B, ...)` that have a drawn one as near as their k-th nearest real one, k a sixteenth
    of B and 4 at least.

    It is about 1 - 2^-k where the two distributions agree, and falls with what is lost of the data. Naeem et al.,
    "Reliable fidelity and diversity metrics for generative models" (2020).
    """
    k = min(1 + max(4, len(real) // 16), len(real))
    x, drawn = real.flatten(1).float(), fake.flatten(1).float()
    among = torch.cdist(x, x).kthvalue(k, dim=1).values  # the nearest is the example itself
    return (torch.cdist(x, drawn).amin(1) <= among).float().mean()
