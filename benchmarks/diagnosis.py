"""Runs broken on purpose, and healthy ones: is what is wrong named, and only that, and does `--remedy` cure it?

`python -m benchmarks.diagnosis --data mnist fashion_mnist --seeds 1 2 --remedy`, with `FIGMENT_DATA` set; `digits` and
`faces` need none. Limits in `figment.core.signs` were chosen on digits, toys and faces at seed 0, and on these alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import figment
from figment.core.errors import FigmentError
from figment.core.run import RunFolder
from figment.evaluate.diagnosis import diagnose

ROWS, SIDE = 2000, 16  # of pictures that are read from a folder


@dataclass(frozen=True)
class Case:
    """A run: what it should be said to suffer from ("": nothing), and what may follow from that. `data` is its own,
    where it is not pictures of any kind."""

    kind: str
    steps: int
    settings: dict[str, Any] = field(default_factory=dict)
    sign: str = ""
    follows: tuple[str, ...] = ()
    data: str | None = None

    @property
    def name(self) -> str:
        changes = [f"{key.split('__', 1)[1]}={value}" for key, value in self.settings.items()]
        return " ".join([self.kind, *(f"on {self.data}" for _ in range(self.data is not None)), *changes])


UNBOUND = {"model__regulariser": "none", "training__lr": 1e-5, "model__rate": 300.0}
LONE = {"model__conditional": False, "model__objective": "non-saturating", "model__regulariser": "none"}
BROKEN = (
    Case("gan", 300, {"model__objective": "non-saturating", **UNBOUND}, "discriminator wins",
         ("samples are all alike",)),
    Case("stylegan", 500, {"model__objective": "minimax", **UNBOUND}, "vanishing gradient", ("discriminator wins",)),
    Case("gan", 800, {**LONE, "training__lr": 4e-3, "training__batch": 128}, "mode collapse", data="toy:grid25"),
    Case("gan", 600, {**LONE, "training__lr": 4e-3, "training__batch": 128}, "mode collapse", data="toy:gaussians8"),
    Case("vae", 400, {"model__sigma": 11.3}, "posterior collapse"),
    Case("vq-vae", 600, {"model__revive": False, "model__commitment": 100.0}, "codebook collapse",
         ("samples are all alike",)),
    Case("diffusion", 100, {"model__schedule": "linear", "model__steps": 100, "model__rescale": False},
         "schedule never reaches noise"),
    Case("diffusion", 200, {"training__lr": 1e-6}, "noise-only samples"),
    Case("gan", 500, {"data__rows": 20}, "memorisation"),
    Case("vae", 250, {"training__lr": 0.3}, "divergence",
         ("NaN", "posterior collapse", "samples are all alike")),
    Case("flow", 250, {"training__lr": 30.0, "training__clip": None}, "NaN", ("divergence",)),
    Case("super-resolution", 120, {"model__adversarial": 1.0, "model__gamma": 0.0, "training__lr": 5e-3},
         "checkerboard", data="faces"),
)  # fmt: skip
HEALTHY = (
    Case("gan", 500),
    Case("gan", 800, data="toy:grid25"),
    Case("stylegan", 300),
    Case("autoencoder", 400),
    Case("vae", 400),
    Case("vq-vae", 600),
    Case("diffusion", 200),
    Case("flow", 250),
    Case("flow", 500, data="toy:spirals"),
    Case("ebm", 300, data="toy:moons"),
    Case("pix2pix", 200, data="faces:edges-to-photo"),
    Case("super-resolution", 120, data="faces"),
)


def settings(case: Case, data: str, seed: int) -> dict[str, Any]:
    """All of a case's settings, small enough for some ten CPU seconds."""
    shared: dict[str, Any] = {"model__size": "tiny", "steps": case.steps, "seed": seed}
    if data.startswith("faces"):
        shared |= {"data__count": 1000, "data__seed": seed, "training__batch": 8}
    elif not data.startswith("toy:") and data != "digits":
        shared |= {"data__rows": ROWS, "data__size": SIDE}
    return shared | case.settings


def diagnosed(case: Case, data: str, seed: int, remedy: bool) -> tuple[list[str], list[dict[str, Any]]]:
    """The signs that a run is said to show, and the remedies that it was given."""
    inside = data.split(":")[0] in ("digits", "faces", "toy")
    source = data if inside else str(Path(os.environ["FIGMENT_DATA"]) / data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        try:
            figment.train(case.kind, source, path, remedy=remedy, **settings(case, data, seed))
        except FigmentError as error:
            if not RunFolder(path).status.exists():
                raise error
        report = diagnose(path)
        return [finding["name"] for finding in report["findings"]], report["remedies"]


def right(case: Case, found: list[str]) -> bool:
    """Whether what is wrong is named, and nothing else that it does not bring about."""
    return set(found) <= {case.sign, *case.follows} and (case.sign in found) == bool(case.sign)


def table(cases: Iterator[tuple[Case, str, int]], remedy: bool) -> None:
    rights = cured = count = 0
    print("| run | data | seed | sign | said | right | remedy | cured | CPU s |\n|" + " --- |" * 9)
    for count, (case, data, seed) in enumerate(cases, 1):  # noqa: B007
        begun = time.process_time()
        found, _ = diagnosed(case, data, seed, remedy=False)
        given, well = "", ""
        if remedy and case.sign:
            left, cures = diagnosed(case, data, seed, remedy=True)
            given = "; ".join(" ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}"
                                       for k, v in cure["settings"].items()) for cure in cures)  # fmt: skip
            well = "no" if case.sign in left else "yes"
            cured += case.sign not in left
        rights += right(case, found)
        print(f"| {case.name} | {data} | {seed} | {case.sign or '-'} | {', '.join(found) or '-'} "
              f"| {'yes' if right(case, found) else '**no**'} | {given or '-'} | {well or '-'} "
              f"| {time.process_time() - begun:.0f} |", flush=True)  # fmt: skip
    print(f"\n{rights} of {count} rightly named" + (f", {cured} cured" if remedy else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", nargs="+", default=["digits"], help="for the cases without data of their own, in turn"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--remedy", action="store_true", help="train each broken run again with --remedy")
    parser.add_argument("--only", nargs="+", help="kinds of models, or signs; healthy: the others")
    asked = parser.parse_args()

    def chosen() -> Iterator[tuple[Case, str, int]]:
        for place, case in enumerate((*BROKEN, *HEALTHY)):
            if not asked.only or {case.kind, case.sign or "healthy"} & set(asked.only):
                yield (case, case.data or asked.data[place % len(asked.data)], asked.seeds[place % len(asked.seeds)])

    table(chosen(), asked.remedy)


if __name__ == "__main__":
    main()
