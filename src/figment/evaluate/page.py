"""The report as one page: no request leaves it, no script but its own runs in it, and it reads without one."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from figment import pictures
from figment.core.run import RunFolder
from figment.evaluate.remarks import glossary, listing, remarks, trade_offs, verdict
from figment.evaluate.trilemma import chart, figure, svg

Row = Mapping[str, Any]


def render(report: Mapping[str, Any], folder: Path) -> str:
    """The page of a comparison: `report` as in `report.json`; pictures and logs are read from `folder`."""
    rows: Sequence[Row] = report["rows"]
    source = files("figment.evaluate")
    style, script = (source.joinpath(name).read_text() for name in ("report.css", "report.js"))
    table, reasons = _table(rows)
    data, settings = report["data"], report["settings"]
    parts = {
        "policy": f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "style": style,
        "script": script,
        "title": escape(f"{data['name']}: {len(rows)} model{'s' * (len(rows) != 1)}"),
        "headline": f"{_count(len(rows))} to learn <em>{escape(data['name'])}</em>",
        "verdict": escape(verdict(rows)),
        "facts": _definitions(_facts(report), "div"),
        "notes": escape(_notes(report)),
        "chart_wide": svg(chart(rows), "chart-wide"),
        "chart_narrow": svg(chart(rows, 400, 440), "chart-narrow"),
        "trade_offs": "".join(f"<li>{escape(sentence)}</li>" for sentence in [*_advice(report), *trade_offs(rows)]),
        "table": table,
        "reasons": "".join(f"<li>{escape(reason)}</li>" for reason in reasons),
        "samples_note": escape(f"Every model draws from the same noise (seed {settings['seed']}), the first samples."),
        "cards": "".join(
            [_real_card(rows, folder), *(_card(place, row, rows, folder) for place, row in enumerate(rows))]
        ),
        "curves": "".join(_curves(place, row, folder) for place, row in enumerate(rows)),
        "reading": _definitions(glossary(rows)),
        "commands": "".join(_command(command) for command in report["commands"]),
        "footer": escape(f"Made by figment {report['figment']} on {report['made']}. This page holds all it shows."),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], source.joinpath("report.html").read_text())


def _advice(report: Mapping[str, Any]) -> list[str]:
    """What was recommended, where a goal was given."""
    return [report["recommendation"]["sentence"]] if "recommendation" in report else []


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _count(number: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
    return f"{words[number] if number < len(words) else number} {'way' if number == 1 else 'ways'}"


def _definitions(pairs: Mapping[str, str], wrap: str = "") -> str:
    before, after = (f"<{wrap}>", f"</{wrap}>") if wrap else ("", "")
    return "".join(f"{before}<dt>{escape(k)}</dt><dd>{escape(v)}</dd>{after}" for k, v in pairs.items())


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    data, settings, machine = report["data"], report["settings"], report["machine"]
    quality: Row = next((row["quality"] for row in report["rows"] if row.get("quality")), {})
    shape = " × ".join(str(size) for size in data["shape"])
    classes = f", {data['classes']} labels" if data["classes"] else ""
    facts = {
        "Data": f"{data['train']:,} to learn from, {data['held_out']:,} held out; {shape}{classes}",
        "Training": _budget(settings) + f", seed {settings['seed']}",
    }
    if quality:
        accuracy = quality.get("features_accuracy")
        facts["Measured on"] = f"{quality['n']:,} samples against {quality.get('held_out', 0):,} held-out items"
        facts["Features"] = quality["features"] + (f", right about {accuracy:.1%} of labels" if accuracy else "")
    if machine.get("torch"):
        cores, threads = machine["cores"], machine["threads"]
        facts["Machine"] = f"{machine['device']}, {machine['processor']}, {cores} cores, {threads} used; "
        facts["Machine"] += f"torch {machine['torch']}, {machine.get('precision') or 'fp32'}"
    return facts


def _notes(report: Mapping[str, Any]) -> str:
    """What was done to the data and what limits the figures, each said once."""
    measured = [note for row in report["rows"] for note in (row.get("quality") or {}).get("notes", ())]
    notes = dict.fromkeys([*report["data"]["notes"], *measured])
    return " ".join(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes)


def _budget(settings: Mapping[str, Any]) -> str:
    minutes = settings.get("minutes")
    if minutes is None:
        return "runs trained before"
    return f"{60 * minutes:.0f} s a model" if minutes < 1 else f"{minutes:g} min a model"


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A figure of a row: where it stands, which way is better, and how it is written."""

    title: str
    unit: str
    block: str
    key: str
    better: str = ""
    text: Callable[[float], str] = figure
    error: str = ""  # the key of its standard error

    def value(self, row: Row) -> float | None:
        value = (row.get(self.block) or {}).get(self.key) if self.block else row.get(self.key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None


def _share(value: float) -> str:
    return f"{value:.2f}"


COLUMNS = (
    Column("Fréchet", "distance ↓", "quality", "frechet", "low"),
    Column("Energy", "distance ↓", "quality", "energy_distance", "low"),
    Column("KL", "nats ↓", "quality", "kl", "low", error="kl_standard_error"),
    Column("Precision", "share ↑", "quality", "precision", "high", _share),
    Column("Recall", "share ↑", "diversity", "recall", "high", _share),
    Column("Coverage", "share ↑", "diversity", "coverage", "high", _share),
    Column("Speed", "samples/s ↑", "speed", "samples_per_second", "high"),
    Column("Cost", "evaluations ↓", "speed", "network_evaluations", "low"),
    Column("Likelihood", "bits/dim ↓", "likelihood", "bits_per_dim", "low"),
    Column("Likelihood", "nats ↑", "likelihood", "nats", "high"),
    Column("Copies", "share ↓", "memorisation", "rate", "", lambda value: f"{value:.1%}"),
    Column("Size", "parameters", "", "parameters"),
    Column("Trained", "seconds", "", "train_seconds"),
)


def _table(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """The table, and the reasons its dashes point to."""
    columns = [column for column in COLUMNS if any(column.value(row) is not None for row in rows)]
    reasons: list[str] = []
    heads = ['<th scope="col" data-better="low"><button type="button">Model<small>family</small></button></th>']
    for column in columns:
        label = f"{column.title}<small>{column.unit}</small>"
        heads.append(
            f'<th scope="col" data-better="{column.better}"><button type="button">{label}</button></th>'
        )  # fmt: skip
    body = []
    for place, row in enumerate(rows):
        name = escape(row["model"])
        cells = [f'<td data-v="{name}" class="m{place % len(pictures.COLOURS)}"><i></i>{name}</td>']
        cells += [_cell(column, row, rows, reasons) for column in columns]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>", reasons


def _cell(column: Column, row: Row, rows: Sequence[Row], reasons: list[str]) -> str:
    value = column.value(row)
    if value is None:
        reason = _reason(column, row)
        if reason not in reasons:
            reasons.append(reason)
        return f'<td><abbr title="{escape(reason)}">–</abbr><sup>{reasons.index(reason) + 1}</sup></td>'
    others = [v for v in (column.value(r) for r in rows) if v is not None]
    best = column.better and others.count(value) == 1 and value == {"low": min, "high": max}[column.better](others)
    text = escape(column.text(value))
    if error := (row.get(column.block) or {}).get(column.error):
        text += f" <small>± {figure(error)}</small>"
    if column.block == "likelihood":
        bound = "≤" if column.better == "low" else "≥"
        sign = {"exact": "=", "bound": bound, "estimate": "~"}.get(row["likelihood"].get("kind"), "")
        text = f"<small>{sign}</small> {text}"
    return f'<td data-v="{value}"{" class=best" if best else ""}>{text}</td>'


def _reason(column: Column, row: Row) -> str:
    if row.get("error"):
        return "Not measured: training or measuring stopped with an error, given with the samples."
    if column.block == "likelihood" and row.get("quality"):
        return "It draws samples but assigns no probability to a given item (an implicit density)."
    if column.block in ("quality", "diversity", "memorisation") and row.get("quality"):
        return "Not measured: too few items are held out for it."
    if column.block:
        return "It has no density and draws no samples, so there is nothing to measure (a plain autoencoder)."
    return "Not recorded."


# -- samples and curves -----------------------------------------------------------------------------------------------


def _real_card(rows: Sequence[Row], folder: Path) -> str:
    shown = _image(folder / "real.png", "Held-out items of the data")
    real: Row = next((row["diversity"]["real"] for row in rows if (row.get("diversity") or {}).get("real")), {})
    told = "Training items measured like samples: " + ", ".join(
        f"{name} {_share(real[name])}" for name in ("precision", "recall", "coverage") if name in real
    )
    note = f"<ul><li>{escape(told)}.</li></ul>" if real else ""
    head = '<h3>the data</h3><p class="what">real, held out from training</p>'
    return f'<article class="card">{head}{shown}{note}</article>'


def _card(place: int, row: Row, rows: Sequence[Row], folder: Path) -> str:
    what = "reconstructions of held-out items" if not row.get("quality") and not row.get("error") else "samples"
    told = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(row, rows))
    shown = _image(folder / f"samples-{row['model']}.png", f"{row['model']}: {what}")
    kind = f"; {row['density']} density" if row.get("density") else ""
    head = f'<h3>{escape(row["model"])}</h3><p class="what">{what + kind if shown else "nothing to show"}</p>'
    return f'<article class="card m{place % len(pictures.COLOURS)}">{head}{shown}<ul>{told}</ul></article>'


def _image(path: Path, told: str) -> str:
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(told)}">'
    return f'<button type="button" class="zoom" aria-label="Enlarge: {escape(told)}">{image}</button>'


def _curves(place: int, row: Row, folder: Path) -> str:
    lines = RunFolder((folder / row["run"]).resolve()).read_metrics() if row.get("run") else []
    names = [name for name in dict.fromkeys(key for line in lines for key in line) if name.split(".")[-1] == "loss"]
    series = {name: [(ln["seconds"], ln[name]) for ln in lines if _finite(ln.get(name))] for name in names[:3]}
    drawn = _plot({name: thin(curve) for name, curve in series.items() if len(curve) > 1})
    named = listing([f"{name}{style}" for name, style in zip(series, ("", " (dashed)", " (dotted)"))]) if drawn else ""
    why = "too few steps were logged for a curve" if names or not lines else "fitted in closed form: no loss to follow"
    took = f", {figure(row['train_seconds'])} s" if row.get("train_seconds") is not None else ""
    what = (named or why) + took
    head = f'<h3>{escape(row["model"])}</h3><p class="what">{escape(what)}</p>'
    return f'<article class="card m{place % len(pictures.COLOURS)}">{head}{drawn}</article>'


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


Curve = list[tuple[float, float]]


def thin(curve: Curve, most: int = 160) -> Curve:
    """A curve as the means of at most so many runs of consecutive points."""
    size = math.ceil(len(curve) / most)
    parts = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _plot(series: Mapping[str, Curve], width: int = 320, height: int = 150) -> str:
    if not series:
        return ""
    heights = sorted(y for curve in series.values() for _, y in curve)
    low, high = heights[0], heights[min(len(heights) - 1, int(0.985 * len(heights)))]  # the first steps may tower
    if high <= low:
        low, high = low - 1, high + 1
    end = max(curve[-1][0] for curve in series.values()) or 1.0
    left, right, top, bottom = 44, width - 6, 8, height - 20

    def at(x: float, y: float) -> str:
        down = bottom - (min(y, high) - low) / (high - low) * (bottom - top)
        return f"{left + x / end * (right - left):.1f} {down:.1f}"

    parts = []
    for value in (low, (low + high) / 2, high):
        y = at(0, value).split()[1]
        parts.append(f'<path class="rule" d="M{left} {y}H{right}"/>')
        parts.append(f'<text class="tick end" x="{left - 6}" y="{float(y) + 4:.1f}">{figure(value)}</text>')
    parts.append(f'<text class="tick" x="{left}" y="{height - 4}">0 s</text>')
    parts.append(f'<text class="tick end" x="{right}" y="{height - 4}">{figure(end)} s</text>')
    for (name, curve), style in zip(series.items(), ("curve", "curve second", "curve third")):
        path = "L".join(at(x, y) for x, y in curve)
        parts.append(f'<path class="{style}" d="M{path}"><title>{escape(name)}</title></path>')
    told = escape(", ".join(series))
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{told} over training">{"".join(parts)}</svg>'


def _command(command: str) -> str:
    return f'<div class="command"><code>{escape(command)}</code><button type="button">copy</button></div>'
