"""What `figment list` shows: every table is computed from the registry and the classes themselves."""

from __future__ import annotations

from typing import Any

TOPICS = ("models", "datasets", "samplers", "metrics", "presets")


def rows(topic: str) -> list[dict[str, Any]]:
    """The rows of a topic, each a flat dict."""
    tables = {"models": _models, "datasets": _datasets, "samplers": _samplers, "metrics": _metrics, "presets": _presets}
    return tables[topic]()


def _models() -> list[dict[str, Any]]:
    from figment import registry
    from figment.core.model import abilities, density

    out = []
    for kind in registry.kinds("model"):
        config = registry.load("model", kind)
        out.append(
            {
                "model": kind,
                "density": density(config.model_class()) or "none",
                "accepts": ", ".join(t.model_fields["kind"].default for t in config.accepts),
                "abilities": ", ".join(abilities(config.model_class())),
            }
        )
    return out


def _datasets() -> list[dict[str, Any]]:
    from figment.data import sources

    return [dict(row) for row in sources()]


def _samplers() -> list[dict[str, Any]]:
    from typing import get_args

    from figment.models.diffusion.samplers import levels
    from figment.models.diffusion.sampling import Sampling
    from figment.models.diffusion.schedule import Straight

    field = Sampling.model_fields["sampler"]
    out = []
    for name in get_args(field.annotation):
        choice = Sampling(sampler=name)
        out.append(
            {
                "sampler": name,
                "steps": choice.steps,
                "network_evaluations": choice.evaluations(levels(Straight(), choice.steps, "uniform", choice.shift)),
                "adds_noise": not choice.deterministic,
                "default": name == field.default,
            }
        )
    return out


def _metrics() -> list[dict[str, Any]]:
    from figment.evaluate.report import METRICS

    return [{"metric": name, "what": what} for name, what in METRICS.items()]


def _presets() -> list[dict[str, Any]]:
    from figment.presets import PRESETS

    def said(part: dict[str, Any]) -> str:
        return ", ".join(f"{k}={v}" for k, v in part.items() if k != "kind")

    return [
        {
            "preset": name,
            "model": p["model"]["kind"],
            "settings": said(p["model"]),
            "training": said(p["training"]),
            "of rows": said(p.get("rows", {})),
        }
        for name, p in PRESETS.items()
    ]
