"""Where data comes from: a DATA string of the command line becomes a config whose `build()` gives a Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from figment import registry
from figment.core import config
from figment.core.errors import UsageError, did_you_mean
from figment.core.run import DataConfig

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
FOLDERS = ("pairs", "masks")
FORMS = {
    "FOLDER": "pictures; sub-folders are labels, except train, valid, test, which are splits",
    "FILE.zip, FILE.tar[.gz]": "the same, packed",
    "FOLDER or FILE of .parquet": "pictures as the Hugging Face Hub serves them",
    "pairs:FOLDER": "A/NAME.png should become B/NAME.png: for translation",
    "unpaired:A,B": "two folders or archives of pictures that do not belong together: for translation both ways",
    "masks:FOLDER": "images/NAME.png, and in masks/NAME.png the class of each pixel: for segmentation",
    "hf:OWNER/NAME": "a data set of the Hugging Face Hub: the only form that uses the network",
}


def sources() -> list[dict[str, str]]:
    """What DATA may be, with one line about each: for `figment list datasets`."""
    toys = {f"toy:{name}": "points in the plane with a known density" for name in _toys()}
    there = (
        {
            "digits": "1,797 scans of handwritten digits, 8x8, 10 labels",
            "digits:coloured": "the same in five colours, with captions",
            "faces": "drawn faces, 32x32 or any size: 11 known factors, one of them the label",
        }
        | {f"faces:{task}": _twin(task) for task in _tasks()}
        | toys
    )
    return [{"data": form, "what": what} for form, what in (there | FORMS).items()]


def parse(text: str, options: Mapping[str, Any] | None = None) -> DataConfig:
    """The config of a DATA string, with settings such as `{"size": 32}`. Raises UsageError saying what to type."""
    value = {**_named(text), **(options or {})}
    return config.parse(registry.load("data", value["kind"]), value)


def _named(text: str) -> dict[str, Any]:
    kind, colon, rest = text.partition(":")
    path = Path(text).expanduser()
    if text in ("digits", "faces"):
        return {"kind": text}
    if text == "digits:coloured":
        return {"kind": "digits", "coloured": True}
    if colon and kind == "faces":
        if rest not in _tasks():
            raise UsageError(f"Faces come with no '{rest}'. {did_you_mean(rest, _tasks())}")
        return {"kind": "faces", "task": rest}
    if colon and kind in FOLDERS:
        if not Path(rest).expanduser().exists():
            raise UsageError(f"There is no folder '{rest}' of {kind}. Type {kind}: and the path of one.")
        return {"kind": kind, "path": rest}
    if colon and kind == "unpaired":
        return {"kind": kind, **_two(rest)}
    if colon and kind == "toy":
        if rest not in _toys():
            raise UsageError(f"There is no toy '{rest}'. {did_you_mean(rest, _toys())} Type, for example, toy:moons.")
        return {"kind": "toy", "name": rest}
    if colon and kind == "hf":
        name, _, subset = rest.partition(":")
        return {"kind": "hub", "name": name, **({"subset": subset} if subset else {})}
    if path.is_dir():
        return {"kind": "parquet" if _holds_parquet(path) else "images", "path": text}
    if path.is_file() and path.suffix == ".parquet":
        return {"kind": "parquet", "path": text}
    if path.is_file() and path.name.lower().endswith(ARCHIVES):
        return {"kind": "images", "path": text}
    known = [
        "digits",
        "digits:coloured",
        "faces",
        *(f"faces:{task}" for task in _tasks()),
        *(f"toy:{name}" for name in _toys()),
    ]
    if path.exists():
        raise UsageError(f"'{text}' is nothing that can be learnt from. DATA is one of: {', '.join([*known, *FORMS])}.")
    around = path.parent.iterdir() if path.parent.is_dir() else ()
    fit = (entry for entry in around if entry.is_dir() or entry.name.lower().endswith((*ARCHIVES, ".parquet")))
    nearby = [str(path.with_name(entry.name)) for entry in fit if not entry.name.startswith(".")]
    hint = did_you_mean(text, known + sorted(nearby)[:20])
    raise UsageError(f"There is no data '{text}'. {hint} Or type the path of a folder of your own pictures.")


def _two(text: str) -> dict[str, str]:
    """A and B of `A,B`, where the names themselves may have commas. Raises UsageError."""
    words = text.split(",")
    cuts = [(",".join(words[:i]), ",".join(words[i:])) for i in range(1, len(words))]
    for a, b in cuts:
        if Path(a).expanduser().exists() and Path(b).expanduser().exists():
            return {"a": a, "b": b}
    if not cuts:
        raise UsageError(f"unpaired:{text} names one place. Two are wanted, with a comma between: unpaired:A,B.")
    missing = next(part for part in cuts[0] if not Path(part).expanduser().exists())
    raise UsageError(
        f"There is no '{missing}'. Type unpaired:A,B with the paths of two folders or archives of pictures."
    )


def _tasks() -> tuple[str, ...]:
    from figment.data.faces.tasks import TASKS

    return (*TASKS, "parts", "glasses")


def _twin(task: str) -> str:
    given, _, wanted = task.partition("-to-")
    others = {"parts": "drawn faces, each with a mask of its parts", "glasses": "drawn faces without glasses (A), and "
              "others with (B): unpaired"}  # fmt: skip
    return f"drawn faces: {given} to become {wanted}" if wanted else others[task]


def _toys() -> tuple[str, ...]:
    from figment.data.toys import NAMES

    return NAMES


def _holds_parquet(folder: Path) -> bool:
    """Whether Parquet files lie in a folder or in one directly below it."""
    return any(next(folder.glob(pattern), None) for pattern in ("*.parquet", "*/*.parquet"))
