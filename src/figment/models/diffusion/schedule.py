"""How much signal and how much noise there is at time t: t = 0 is data, t = 1 is noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

ScheduleName = Literal["straight", "cosine", "offset-cosine", "linear", "quadratic"]
NOTHING = 1e-7  # a signal rate that float32 does not add to noise, and whose logarithm is finite


class Schedule(ABC):
    """x_t = alpha(t) x + sigma(t) noise, the signal-to-noise ratio falling in t."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The signal rate, of the shape of t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The noise rate, of the shape of t."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha^2 / sigma^2)."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def time(self, log_snr: Tensor) -> Tensor:
        """The t at which lambda(t) is `log_snr`, by bisection."""
        low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
        for _ in range(60):
            middle = (low + high) / 2
            clearer = self.log_snr(middle) > log_snr
            low, high = torch.where(clearer, middle, low), torch.where(clearer, high, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Straight(Schedule):
    """alpha = 1 - (1 - floor) u, sigma = u: the straight path from data to noise; u = t, or with a `shift` the time
    u = shift t / (1 + (shift - 1) t) at which there is `shift` times as much noise to a signal.

    `floor` is the signal left at t = 1; a network that predicts the noise needs some. Liu et al., "Flow straight and
    fast" (2023); Lipman et al., "Flow matching for generative modeling" (2023).
    """

    floor: float = 0.0
    shift: float = 1.0

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - (1 - self.floor) * self.sigma(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)


@dataclass(frozen=True)
class Steps(Schedule):
    """T noising steps x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) noise, i = t T.

    alpha^2 = prod_{j <= i} (1 - beta_j), its logarithm linear between steps; sigma^2 = 1 - alpha^2. Ho et al.,
    "Denoising diffusion probabilistic models" (2020), eq. 4.
    """

    betas: tuple[float, ...]
    log_signal: Tensor = field(init=False, repr=False, compare=False)  # log of alpha^2 after 0 ... T steps, float64

    def __post_init__(self) -> None:
        decay = torch.log1p(-torch.tensor(self.betas, dtype=torch.float64))
        object.__setattr__(self, "log_signal", torch.cat([decay.new_zeros(1), decay.cumsum(0)]))

    def _log_signal(self, t: Tensor) -> Tensor:
        table = self.log_signal.to(t.device, t.dtype)
        position = t * len(self.betas)
        below = position.long().clamp(0, len(self.betas) - 1)
        return torch.lerp(table[below], table[below + 1], position - below)

    def alpha(self, t: Tensor) -> Tensor:
        return (self._log_signal(t) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(self._log_signal(t))).sqrt()


def path(
    name: ScheduleName,
    steps: int = 1000,
    rescale: bool = True,
    floor: float = 0.0,
    shift: float = 1.0,
    zero_snr: bool = False,
) -> Schedule:
    """The schedule of that name, with `shift` times as much noise to a signal at every t (Hoogeboom et al., "simple
    diffusion", 2023); with `zero_snr`, signal rates moved and stretched so that none is left at t = 1 (Lin et al.,
    "Common diffusion noise schedules and sample steps are flawed", 2024), or `floor`.

    linear: beta 1e-4 ... 0.02, evenly (Ho et al. 2020); quadratic: its square root evenly; `rescale` multiplies them
    by 1000 / steps, without which a short chain never reaches noise. cosine: alpha^2 = cos^2(pi/2 (t + s) / (1 + s)),
    s = 0.008, beta <= 0.999 (Nichol & Dhariwal, "Improved denoising diffusion probabilistic models", 2021);
    offset-cosine: an angle that goes evenly from arccos 0.95 to arccos 0.02 (Foster, "Generative deep learning",
    2023). straight has no steps.
    """
    if name == "straight":
        return Straight(floor, shift)
    if name in ("linear", "quadratic"):
        power = 1 if name == "linear" else 2
        roots = torch.linspace(1e-4 ** (1 / power), 0.02 ** (1 / power), steps, dtype=torch.float64)
        betas = roots**power * (1000 / steps if rescale else 1)
    else:
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        if name == "cosine":
            rate = (math.pi / 2 * (t + 0.008) / 1.008).cos()
            signal = (rate / rate[0]) ** 2
        else:
            angles = torch.linspace(math.acos(0.95), math.acos(0.02), steps, dtype=torch.float64)
            signal = torch.cat([t.new_ones(1), angles.cos() ** 2])
        betas = 1 - signal[1:] / signal[:-1]
    betas = betas.clamp(max=0.999)
    if shift != 1 or zero_snr:
        signal = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
        signal = signal / (signal + shift**2 * (1 - signal))
        if zero_snr:
            rate, end = signal.sqrt(), max(floor, NOTHING)
            rate[1:] = end + (rate[1:] - rate[-1]) * (rate[1] - end) / (rate[1] - rate[-1])
            signal = rate**2
        betas = 1 - signal[1:] / signal[:-1]
    return Steps(tuple(betas.tolist()))


def prior_gap(schedule: Schedule, power: float) -> float:
    """KL(q(x_1 | x) || N(0, I)) in bits a dimension, for data whose mean square is `power`.

    (alpha^2 power + sigma^2 - 1 - log sigma^2) / (2 log 2) at t = 1: what starting from pure noise gets wrong.
    """
    end = torch.ones((), dtype=torch.float64)
    alpha, sigma = float(schedule.alpha(end)), float(schedule.sigma(end))
    return (alpha**2 * power + sigma**2 - 1 - 2 * math.log(sigma)) / (2 * math.log(2))


def warning(schedule: Schedule, power: float = 1.0) -> str | None:
    """What to tell a person whose schedule stops before the data are noise (alpha(1)^2 > 1e-3), else None."""
    signal = float(schedule.alpha(torch.ones((), dtype=torch.float64))) ** 2
    if signal <= 1e-3:
        return None
    return (
        f"This schedule never reaches noise: at its end a share of {signal:.2g} of the signal's power is left "
        f"({prior_gap(schedule, power):.2g} bits a dimension from N(0, I)), so sampling from noise starts in the wrong "
        "place. Take more steps, model.rescale=true, or another schedule."
    )
