"""Our networks' weights in their peers' names, so that both compute the same function."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from figment.nn.unet import UNet

RENAMED = [
    (r"^time_embed\.first", "time_embedding.linear_1"),
    (r"^time_embed\.second", "time_embedding.linear_2"),
    (r"^(down|up)\.", r"\1_blocks."),
    (r"^middle\.first", "mid_block.resnets.0"),
    (r"^middle\.second", "mid_block.resnets.1"),
    (r"^middle\.attention\.", "mid_block.attentions.0."),
    (r"^norm\.", "conv_norm_out."),
    (r"_blocks\.(\d+)\.blocks\.", r"_blocks.\1.resnets."),
    (r"^down_blocks\.(\d+)\.resample\.", r"down_blocks.\1.downsamplers.0.conv."),
    (r"^up_blocks\.(\d+)\.resample\.", r"up_blocks.\1.upsamplers.0.conv."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"\.project\.", ".to_out.0."),
    (r"\.(norm|conv)_(\d)\.", r".\1\2."),
    (r"\.modulation\.", ".time_emb_proj."),
    (r"\.shortcut\.", ".conv_shortcut."),
]


def diffusers_weights(net: UNet) -> dict[str, Tensor]:
    """The state dict of diffusers' `UNet2DModel` of the same function. For `patch=1` and no condition."""
    weights: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".qkv." in name:
            weights |= {name.replace("qkv", f"to_{part}"): v for part, v in zip("qkv", value.chunk(3))}
        else:
            weights[name] = value[..., None, None] if name.endswith("shortcut.weight") else value
    return weights


def diffusers_unet(net: UNet, channels: tuple[int, int], attention: tuple[int, ...], head_width: int) -> Any:
    """A `UNet2DModel` with the weights of `net` (its timestep is 1000 t). Needs diffusers."""
    from diffusers import UNet2DModel

    widths = [level.blocks[0].conv_2.out_channels for level in net.down]  # type: ignore[union-attr,index]
    down = ["AttnDownBlock2D" if i in attention else "DownBlock2D" for i in range(len(widths))]
    groups = net.norm.groups
    peer = UNet2DModel(
        in_channels=channels[0],
        out_channels=channels[1],
        block_out_channels=tuple(widths),
        layers_per_block=len(net.down[0].blocks),  # type: ignore[arg-type]
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        attention_head_dim=head_width,
        norm_num_groups=groups,
        attn_norm_num_groups=groups,
        resnet_time_scale_shift="scale_shift",
    )
    peer.load_state_dict(diffusers_weights(net))
    return peer
