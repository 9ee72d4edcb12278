"""What a code is worth as a way to store pictures."""

from __future__ import annotations

from typing import Any

import torch

from figment.explorer import compress
from figment.latent.codes import Code
from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.pictures import COLOURS

STEPS, LATENT = 3000, 16
SHOWN, KEPT = 10, (1, 2, 4, 8, 16)  # pictures, and how many numbers of each are kept
CALLED = {"pca": "principal components", "jpeg": "JPEG files", "jpeg_scan": "JPEG without its tables"}


def make(stage: Stage) -> Told:
    latent = min(LATENT, stage.dataset.spec.x.dimensions)
    scene = stage.scene("ordered", "autoencoder", STEPS, model__latent=latent, model__regulariser="ordered")
    figures = dict(compress.explore(scene, (), compress.Options()).figures)
    network, pca = (figures["psnr_by_numbers"][name] for name in ("autoencoder", "pca"))
    both = sorted(set(network) & set(pca))
    better = [k for k in both if network[k] > pca[k]]
    ahead = max(both, key=lambda k: network[k] - pca[k])
    claims = [
        Claim("A network beats as many principal components at every size of the code",
              f"at {len(better)} of {len(both)} sizes; by most with {ahead}: {network[ahead]:.1f} against "
              f"{pca[ahead]:.1f} dB", len(better) == len(both)),
        Claim("More numbers bring more of the picture back", f"{network[both[0]]:.1f} dB with {both[0]}, "
              f"{network[both[-1]]:.1f} dB with {both[-1]}", network[both[-1]] > network[both[0]]),
    ]  # fmt: skip
    stored = {name: {float(b): db for b, db in found.items()} for name, found in figures["psnr_by_bytes"].items()}
    most = max(stored["autoencoder"])
    text = TEXT.format(latent=latent, ahead=ahead, network=network[ahead], pca=pca[ahead], raw=figures["raw_bytes"],
                       most=most, whole=stored["autoencoder"][most],
                       more=max(db for b, db in stored["pca"].items() if b <= most))  # fmt: skip
    return Told(_drawn(stage, scene, figures), text, figures, claims)


def _drawn(stage: Stage, scene: Any, figures: dict[str, Any]) -> Any:
    user, x = stage.dataset.spec.x.to_user, stage.examples(SHOWN).x
    code, rows, names = scene.codec.encode(x, {}), [x], ["given"]
    for k in (k for k in KEPT if k <= code.z.shape[1]):
        cut = code.z.clone()
        cut[:, k:] = 0
        rows.append(scene.codec.decode(Code(cut, code.c)))
        names.append(f"{k} number{'s' if k > 1 else ''}")

    def by_numbers(axes: Any) -> None:
        for (name, found), colour in zip(figures["psnr_by_numbers"].items(), COLOURS):
            kept = {k: value for k, value in found.items() if k <= figures["latent"]}
            axes.plot(
                list(kept),
                list(kept.values()),
                color=colour,
                linewidth=2.4,
                marker="o",
                markersize=5,
                label=CALLED.get(name, name),
            )
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, fontsize=10)

    def by_bytes(axes: Any) -> None:
        for (name, found), colour in zip(figures["psnr_by_bytes"].items(), COLOURS):
            sizes = [float(size) for size in found]
            told = CALLED.get(name, name)
            axes.plot(sizes, list(found.values()), color=colour, linewidth=2.4, marker="o", markersize=4, label=told)
        axes.set(xscale="log", ylim=(None, 40))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, fontsize=10)

    strip = pictures(
        "Held-out pictures, by how much of the code is kept",
        user(torch.cat(rows)),
        SHOWN,
        "The first number says most, each further one refines it: the code was trained to be cut short anywhere.",
        names=names,
    )
    charts = [
        curves("By numbers kept", by_numbers, "Principal components are the best that straight lines can do.",
               ("numbers kept of a picture", "dB")),
        curves("By bytes", by_bytes, "Numbers rounded and entropy coded; a raw picture has "
               f"{figures['raw_bytes']:,} bytes.",
               ("bytes a picture", "dB")),
    ]  # fmt: skip
    return plate(LESSON.title, LESSON.teaches, [[strip], charts])


TEXT = """
An autoencoder whose code can be cut short anywhere (in training, all numbers after a random one were left out) shows
how much each number is worth. One number places a picture on a curve through the data, a few more give its form, the
rest refine it, up to {latent}. At {ahead} numbers the network is furthest ahead of as many principal components:
{network:.1f} dB against {pca:.1f} dB.

To store a picture, its numbers must be rounded; the right panel counts the bytes that are left (raw: {raw:,}). With
all its numbers, {most:.1f} bytes, the network is at {whole:.1f} dB; principal components, of which there may be more,
reach {more:.1f} dB in as many bytes: a small code pays where little is to be kept. JPEG carries tables in every file,
which dwarf a picture this small, and are left out of its second curve.
"""

LESSON = Lesson(
    name="compression",
    title="How much of a picture is in a few numbers",
    source="Decks 000 and 003, 'Autoencoding is a form of compression'. O. Rippel, M. A. Gelbart and R. P. Adams, "
    "'Learning ordered representations with nested dropout' (2014)",
    teaches="Each number kept buys back some of the picture: a network's numbers buy more than principal components.",
    make=make,
)
