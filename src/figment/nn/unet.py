"""The one U-Net: pictures in, pictures of the same size out, modulated by time and a condition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from figment.kernels import normalisation as kernel
from figment.nn.attention import Pointwise, SelfAttention
from figment.nn.embeddings import TimeEmbedding
from figment.nn.normalisation import GroupNorm
from figment.nn.resample import UpConv
from figment.nn.text import CrossAttention

READING = 32  # channels of a head of attention to words


class UNet(nn.Module):
    """`(B, channels_in, H, W)`, t `(B,)` (in [0, 1], or any positive scale), embedding `(B, E)` -> float32
    `(B, channels_out, H, W)`, zero at the start.

    Level i has `width * multipliers[i]` channels and half the resolution of level i - 1: `blocks` residual blocks on
    the way down and one more on the way up, each followed by self-attention where i is in `attention`, as the middle
    always has; `head_width` channels a head, 0: no attention at all. `patch` > 1 folds patch x patch pixels into
    channels at the entrance. With `words` > 0 each block is also followed by attention to the words `(B, L, words)` of
    a text. Any H and W: padded to what the levels need, then cropped. Without `timed`, t is None and nothing
    modulates; without `skips`, what the way up gets from the way down is 0.

    With `patch=1` the layout is that of diffusers' `UNet2DModel` (benchmarks/peers.py has the mapping).
    Ronneberger et al., "U-Net" (2015); Ho et al., "Denoising diffusion probabilistic models" (2020); Dhariwal & Nichol,
    "Diffusion models beat GANs on image synthesis" (2021).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 2,
        attention: Sequence[int] = (),
        head_width: int = 64,
        patch: int = 1,
        embedding: int = 0,
        words: int = 0,
        timed: bool = True,
        skips: bool = True,
    ):
        super().__init__()
        widths = [width * multiplier for multiplier in multipliers]
        features = 4 * width if timed else 0
        self.skips = skips
        self.patch, self.multiple = patch, patch * 2 ** (len(widths) - 1)
        self.time_embed = TimeEmbedding(width, features) if timed else None
        self.condition_embed = nn.Linear(embedding, features) if embedding else None
        self.conv_in = nn.Conv2d(channels_in * patch**2, width, 3, padding=1)

        def stage(inputs: Sequence[int], outputs: int, attend: bool, resample: nn.Module | None) -> Level:
            return Level(inputs, outputs, features, head_width if attend else 0, resample, words)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        passed = [width]
        for i, w in enumerate(widths):
            last = i == len(widths) - 1
            halve = None if last else nn.Conv2d(w, w, 3, stride=2, padding=1)
            self.down.append(stage([passed[-1], *[w] * (blocks - 1)], w, i in attention, halve))
            passed += [w] * (blocks if last else blocks + 1)
        middle = widths[-1]
        self.middle = Middle(middle, features, head_width, words)
        for i, w in reversed(list(enumerate(widths))):
            inputs = [(w if j else middle) + passed.pop() for j in range(blocks + 1)]
            self.up.append(stage(inputs, w, i in attention, UpConv(w, w) if i else None))
            middle = w
        self.norm = GroupNorm(width)
        self.conv_out = zeroed(nn.Conv2d(width, channels_out * patch**2, 3, padding=1))

    def forward(
        self, x: Tensor, t: Tensor | None = None, embedding: Tensor | None = None, words: Tensor | None = None
    ) -> Tensor:
        height, width = x.shape[2:]
        e, h = self._modulation(t, embedding), self._entered(x)
        skips = [h]
        for level in self.down:
            h = level(h, e, words, skips, descending=True)
        h = self.middle(h, e, words)
        skips = skips if self.skips else [torch.zeros_like(skip) for skip in skips]
        for level in self.up:
            h = level(h, e, words, skips, descending=False)
        y = F.pixel_shuffle(self.conv_out(self.norm(h)), self.patch)
        return y[:, :, :height, :width].float()

    def maps(
        self, x: Tensor, t: Tensor | None = None, embedding: Tensor | None = None, words: Tensor | None = None
    ) -> list[Tensor]:
        """What each level sees of x on the way down, and the middle: `(B, width, H', W')` each."""
        e, h = self._modulation(t, embedding), self._entered(x)
        skips, seen = [h], []
        for level in self.down:
            h = level(h, e, words, skips, descending=True)
            seen.append(skips[-1 if level.resample is None else -2])
        return [*seen, self.middle(h, e, words)]

    def _entered(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        if h.device.type == "cpu" and (kernel.usable(h) or not torch.is_grad_enabled()):
            # Convolutions take less time in this layout; training, torch's own normalisation costs more than they save.
            h = h.contiguous(memory_format=torch.channels_last)
        return h

    def _modulation(self, t: Tensor | None, embedding: Tensor | None) -> Tensor | None:
        if self.time_embed is None or t is None:
            return None
        e = self.time_embed(t)
        if self.condition_embed is not None and embedding is not None:
            e = e + self.condition_embed(embedding)
        return F.silu(e)


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention where `head_width` > 0, and by attention to
    words of so many numbers where `words` > 0."""

    def __init__(
        self,
        inputs: Sequence[int],
        outputs: int,
        features: int,
        head_width: int,
        resample: nn.Module | None,
        words: int = 0,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(Block(n, outputs, features) for n in inputs)
        self.attentions = nn.ModuleList(SelfAttention(outputs, head_width) for _ in inputs if head_width)
        self.readers = nn.ModuleList(CrossAttention(outputs, words, READING) for _ in inputs if words)
        self.resample = resample

    def forward(
        self, h: Tensor, e: Tensor | None, words: Tensor | None, skips: list[Tensor], descending: bool
    ) -> Tensor:
        """Puts every intermediate map on `skips` where descending, else takes one from it for every block."""
        for i, block in enumerate(self.blocks):
            h = block(h if descending else torch.cat([h, skips.pop()], dim=1), e)
            h = self.attentions[i](h) if self.attentions else h
            h = self.readers[i](h, words) if self.readers else h
            if descending:
                skips.append(h)
        if self.resample is not None:
            h = self.resample(h)
            if descending:
                skips.append(h)
        return h


class Middle(nn.Module):
    def __init__(self, width: int, features: int, head_width: int, words: int = 0):
        super().__init__()
        self.first, self.second = Block(width, width, features), Block(width, width, features)
        self.attention = SelfAttention(width, head_width) if head_width else nn.Identity()
        self.reader = CrossAttention(width, words, READING) if words else None

    def forward(self, h: Tensor, e: Tensor | None, words: Tensor | None = None) -> Tensor:
        h = self.attention(self.first(h, e))
        if self.reader is not None and words is not None:
            h = self.reader(h, words)
        return self.second(h, e)


class Block(nn.Module):
    """h + conv(phi(modulated norm(conv(phi(norm(h)))))), the identity (or a 1x1 convolution) at the start."""

    def __init__(self, inputs: int, outputs: int, features: int):
        super().__init__()
        self.norm_1, self.norm_2 = GroupNorm(inputs), GroupNorm(outputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.modulation = nn.Linear(features, 2 * outputs) if features else None
        self.shortcut = Pointwise(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, e: Tensor | None) -> Tensor:
        y = self.conv_1(self.norm_1(h))
        modulation = None if self.modulation is None or e is None else self.modulation(e)
        return self.conv_2(self.norm_2(y, modulation)).add_(self.shortcut(h))


def zeroed(module: nn.Conv2d) -> nn.Conv2d:
    """The layer with its weights set to zero, so that what it adds to begins as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
