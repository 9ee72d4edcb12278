"""The training pictures nearest to some, by their codes and by their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pydantic
from torch import Tensor

from figment.core.config import Config
from figment.core.data import Batch, Image
from figment.explorer.inputs import Chosen, choose, varied
from figment.explorer.scene import Found, Scene
from figment.latent.neighbours import nearest_rows
from figment.pictures import sheet

BLOCK = 1000
SHORTLIST = 8  # nearest in pixels, of each picture, whose codes are compared where encoding is slow


class Options(Config):
    """How many neighbours, among how many."""

    count: int = pydantic.Field(6, ge=1, le=50, description="neighbours of each picture")
    rows: int | None = pydantic.Field(None, ge=1, description="training pictures to search (unset: all)")


def explore(scene: Scene, words: Sequence[str], options: Options) -> Found:
    """The nearest training pictures to those named: a row by |z - z'|, a row by |x - x'|.

    Where encoding is a search or a long path, codes are compared among the nearest few in pixels only.
    """
    scene.require_pictures("neighbours")
    chosen = choose(scene, list(words) or varied(scene, 3))
    total = min(options.rows or len(scene.dataset.train), len(scene.dataset.train))
    pixels = ((start, batch.x.flatten(1)) for start, batch in _blocks(scene, total))
    by_pixel, far = nearest_rows(chosen.x.flatten(1), pixels, max(options.count, SHORTLIST))
    by_code, apart = _by_code(scene, chosen, by_pixel, total, options.count)
    by_pixel, far = by_pixel[:, : options.count], far[:, : options.count]
    form = scene.model.spec.x
    assert isinstance(form, Image)
    cells: list[list[np.ndarray | None]] = []
    captions, names = list[list[str]](), list[str]()
    for k, given in enumerate(form.to_user(chosen.x)):
        for name, first, rows in (("by code", given, by_code[k]), ("by pixel", None, by_pixel[k])):
            cells.append([first, *form.to_user(scene.gather("train", rows.numpy()).x)])
            captions.append([chosen.names[k] if first is not None else "", *(f"train:{row}" for row in rows.tolist())])
            names.append(name)
    both = [len(set(a) & set(b)) / len(a) for a, b in zip(by_code.tolist(), by_pixel.tolist())]
    figures = {
        "encoded_by": scene.codec.way,
        "searched": total,
        "shared": float(np.mean(both)),
        "by_code": dict(zip(chosen.names, by_code.tolist())),
        "by_pixel": dict(zip(chosen.names, by_pixel.tolist())),
        "distance_of_codes": dict(zip(chosen.names, apart.tolist())),
        "distance_of_pixels": dict(zip(chosen.names, far.tolist())),
    }
    title = f"{scene.title}: nearest of {total:,} training pictures"
    return Found(figures, sheet(cells, names, captions=captions, title=title))


def _blocks(scene: Scene, total: int) -> Iterator[tuple[int, Batch]]:
    for start in range(0, total, BLOCK):
        yield start, scene.gather("train", range(start, min(start + BLOCK, total)))


def _by_code(scene: Scene, chosen: Chosen, by_pixel: Tensor, total: int, count: int) -> tuple[Tensor, Tensor]:
    """Rows and distances of the nearest codes `(Q, count)`."""
    query = chosen.code.z.flatten(1)
    if scene.codec.way == "encoder":
        codes = ((start, scene.codec.encode(b.x, b.c).z.flatten(1)) for start, b in _blocks(scene, total))
        return nearest_rows(query, codes, count)
    few = by_pixel.unique()
    batch = scene.gather("train", few.numpy())
    place, apart = nearest_rows(query, [(0, scene.codec.encode(batch.x, batch.c).z.flatten(1))], count)
    return few[place], apart
