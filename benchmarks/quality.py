"""What the recipes reach on real data: `python -m benchmarks.quality fashion_mnist --minutes 10 --seeds 0 1 2`.

Each model is trained and measured through public calls, in two feature networks of different architecture, in the
folder that FIGMENT_DATA names. What is trained already (in --out) is measured again, not trained again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import figment

MODELS = ("diffusion", "gan", "with-prior")
NETWORKS = ("classifier", "classifier-residual")


def line(kind: str, data: str, seed: int, minutes: float, row: dict[str, Any]) -> str:
    quality, diversity = row["quality"], row["diversity"]
    yardstick = quality["one_class_missing"]
    return (
        f"| {data} | {kind} | {seed} | {minutes:g} | {quality['features']} ({quality['features_accuracy']:.1%}) "
        f"| {quality['frechet']:.3g} | {yardstick:.3g} | **{quality['frechet'] / yardstick:.2f}** "
        f"| {quality['precision']:.2f} | {diversity['recall']:.2f} | {diversity['coverage']:.2f} "
        f"| {row['speed']['network_evaluations']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    asked = parser.parse_args()
    folder = Path(os.environ["FIGMENT_DATA"])
    print("| data | model | seed | minutes | features (accuracy) | Fréchet | one class missing | ratio | precision "
          "| recall | coverage | evaluations |\n|" + " --- |" * 12)  # fmt: skip
    for data in asked.data:
        for kind in asked.models:
            for seed in asked.seeds:
                out = asked.out / f"{kind}-{data}-{seed}"
                run = figment.train(
                    kind, str(folder / data), out, minutes=asked.minutes, seed=seed, resume=out.exists()
                )
                for network in NETWORKS:
                    row = figment.evaluate(run.path, n=asked.n, features=network)
                    print(line(kind, data, seed, asked.minutes, row), flush=True)


if __name__ == "__main__":
    main()
