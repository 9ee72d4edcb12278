"""Imports run one way: what stands below knows nothing of what stands above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import figment

ROOT = Path(figment.__file__).parent
VOCABULARY = {
    f"core.{name}"
    for name in (
        "config", "data", "errors", "model", "noise", "order", "processes", "progress", "run", "stages", "text"
    )
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))

# From below to above: each may import itself, what it names, and nothing else of ours.
MAY = {
    "registry": {"core.errors"},
    "kernels": set(),
    "nn": {"kernels"},
    "core": {"registry"},
    "pictures": VOCABULARY,
    "models": {"registry", "nn", "pictures", "pixels.attacks", "pixels.colour"} | VOCABULARY,
    "data": {"registry"} | VOCABULARY,
    "presets": set(),
    "translations": {"registry", "core", "data", "pictures"},
    "variations": {"core", "data", "pictures", "translations"},
    "planning": {"registry", "core", "data", "presets"},
    "interchange": {"registry", "core", "nn", "models"},
    "use": {"core", "interchange"},
    "workbench": {
        "registry",
        "core",
        "data",
        "evaluate.symptoms",  # which knows nothing of it
        "kernels",
        "planning",
        "pictures",
        "translations",
        "use",
    },
    "samples": {"core", "interchange", "pictures", "use"},
    "evaluate": {
        "registry",
        "translations",
        "core",
        "nn",
        "data",
        "models",
        "presets",
        "pictures",
        "pixels",
        "planning",
        "use",
        "workbench",
        "samples",
    }
    | {f"latent.{name}" for name in ("aggregate", "disentanglement", "map")},  # which know nothing of it
    "pixels": {"nn", "models.classical.clusters", "evaluate.cache"} | VOCABULARY,  # the last knows nothing of it
    "latent": {"nn", "pixels", "evaluate.neighbours", "models.classical.clusters"} | VOCABULARY,
    "coding": VOCABULARY,
    "explorer": {
        "coding",
        "core",
        "data",
        "nn",
        "models",
        "evaluate",
        "latent",
        "pixels",
        "pictures",
        "samples",
        "use",
    },
    "lessons": {
        "registry",
        "core",
        "data",
        "models",
        "evaluate",
        "latent",
        "pixels",
        "explorer",
        "pictures",
        "planning",
        "translations",
        "use",
        "workbench",
    },
    "listing": {"registry", "core", "data", "models", "presets", "evaluate"},
}
TOP = {"cli", "studio", "__init__", "__main__"}
BARE = ("core.errors", "core.config", "registry", "cli", "__init__", "__main__", "listing")  # what `--help` imports


def module_of(path: Path) -> str:
    """`core.run` for figment/core/run.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, only_at_once: bool = False) -> Iterator[str]:
    """What a file imports, in full; all of it, or what is imported at once with it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if not only_at_once else tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def ours(path: Path) -> set[str]:
    return {name.removeprefix("figment.") for name in imports(path) if name.startswith("figment.")}


def below(name: str, allowed: set[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in allowed)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    part = module_of(path).partition(".")[0]
    if part in TOP:
        return
    assert part in MAY, f"{part} has no place among the layers: give it one here and in the design"
    # `from figment.core import config` names a module, `from figment import registry` the package's own
    wrong = {name for name in ours(path) if not below(name, MAY[part] | {part})}
    assert not wrong


@pytest.mark.parametrize("path", [p for p in FILES if below(module_of(p), {"nn"})], ids=module_of)
def test_networks_know_no_configs(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in ("pydantic", "numpy", "sklearn")}


@pytest.mark.parametrize("path", [p for p in FILES if below(module_of(p), {"models", "nn"})], ids=module_of)
def test_models_touch_no_files_and_no_screens(path: Path) -> None:
    forbidden = {"os", "pathlib", "shutil", "subprocess", "rich", "typer", "json", "PIL", "matplotlib", "socket"}
    assert not {name for name in imports(path) if name.split(".")[0] in forbidden}
    calls = [node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Name)]  # fmt: skip
    assert not {"print", "open", "hasattr"} & set(calls)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in ("pickle", "shelve", "dill", "cloudpickle")}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            said = ast.unparse(node.func)
            assert said not in ("eval", "exec", "torch.load", "joblib.load", "os.system"), f"{path}: {said}"
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert keywords.get("allow_pickle", "False") == "False"
            assert keywords.get("shell", "False") == "False"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_help_needs_nothing_slow(path: Path) -> None:
    """The command line's own modules import torch and friends only when used."""
    if not below(module_of(path), set(BARE)) or module_of(path) in ("cli.progress", "cli.reports"):
        return
    slow = {"torch", "numpy", "pydantic", "rich", "matplotlib", "sklearn", "accelerate"}
    if module_of(path) == "core.config":
        slow -= {"pydantic"}
    assert not {name for name in imports(path, only_at_once=True) if name.split(".")[0] in slow}
