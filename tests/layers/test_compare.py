"""The comparison: the Pareto front, the page, and a folder that survives failures and interruptions."""

import base64
import hashlib
import json
import re
import signal
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from figment.core.errors import Diverged, UsageError
from figment.core.run import RunFolder
from figment.core.training import Stopped
from figment.evaluate import compare as comparison
from figment.evaluate import page, trilemma
from figment.evaluate.remarks import listing, remarks, trade_offs, verdict

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def row(model: str, frechet: float = 5.0, coverage: float = 0.5, speed: float = 100.0) -> dict[str, Any]:
    return {
        "model": model,
        "parameters": 1234,
        "train_seconds": 30.0,
        "quality": {
            "frechet": frechet,
            "interval": [frechet * 0.9, frechet * 1.1],
            "floor": 1.0,
            "one_class_missing": 8.0,
            "blurred": 20.0,
            "n": 1000,
            "held_out": 180,
            "features": "classifier",
            "features_accuracy": 0.98,
            "precision": 0.8,
        },
        "diversity": {"recall": 0.5, "coverage": coverage},
        "speed": {"samples_per_second": speed, "network_evaluations": 1},
        "likelihood": None,
        "memorisation": {"rate": 0.01, "expected": 0.02, "copies": False},
    }


def told(rows: list[dict[str, Any]], name: str = "digits") -> dict[str, Any]:
    return {
        "data": {"name": name, "shape": [1, 8, 8], "classes": 10, "train": 1617, "held_out": 180, "notes": [name]},
        "rows": rows,
        "settings": {"minutes": 0.5, "seed": 0, "n": None, "features": None},
        "machine": {"torch": "2", "cores": 2, "threads": 2, "device": "cpu", "processor": "AVX512"},
        "commands": [f"figment compare {name}"],
        "figment": "0",
        "made": "2030-01-01",
    }


# -- the front --------------------------------------------------------------------------------------------------------


def test_front_is_what_nothing_beats() -> None:
    rows = [row("best", 1, 0.9, 10), row("fast", 9, 0.2, 999), row("beaten", 2, 0.8, 9), row("diverse", 5, 0.95, 5)]
    found = trilemma.points(rows)
    assert [p.model for p in trilemma.front(found)] == ["best", "fast", "diverse"]
    assert "Not on it: beaten; best does at least as well on all three." in trade_offs(rows)


def test_equals_do_not_beat_each_other() -> None:
    assert len(trilemma.front(trilemma.points([row("a"), row("b")]))) == 2


def test_rows_without_all_three_figures_are_not_compared() -> None:
    broken = [
        {**row("no quality"), "quality": None},
        row("infinite", frechet=float("inf")),
        {"model": "e", "error": "x"},
    ]
    assert trilemma.points([*broken, row("whole")])[0].place == 3
    assert len(trilemma.points([*broken, row("whole")])) == 1
    assert "could be measured" in verdict(broken)


@pytest.mark.parametrize("width", [400, 760])
def test_names_on_the_chart_do_not_overlap(width: float) -> None:
    speeds = {"gaussian-mixture": 4e5, "with-prior": 2.3e4, "vae": 2.5e4, "gan": 1.9e4, "diffusion": 900}
    heights = (18.4, 9.1, 14.7, 6.4, 3.4)
    drawn = trilemma.chart([row(m, f, 0.6, s) for (m, s), f in zip(speeds.items(), heights)], width)
    boxes = [(x, y, x + 7 * len(d.point.model), y + 12) for d in drawn.discs for x, y in [d.label]]
    for (a, b, c, d), (e, f, g, h) in combinations(boxes, 2):
        assert min(c, g) <= max(a, e) or min(d, h) <= max(b, f)
    assert all(x0 >= 0 and x1 <= width for x0, _, x1, _ in boxes)


@pytest.mark.parametrize("rows", [[], [row("one")], [row("zero", frechet=0.0, coverage=0.0, speed=1e-9), row("b")]])
def test_any_rows_make_a_chart(rows: list[dict[str, Any]]) -> None:
    drawn = trilemma.chart(rows)
    assert trilemma.svg(drawn, "name").count("<circle") == len(rows)
    assert trilemma.png(drawn, "title").width > 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (3.4, "3.4"),
        (411_987, "412,000"),
        (2.5e6, "2.5 M"),
        (999.6, "1000"),
        (87.0, "87"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert trilemma.figure(value) == text


def test_listing() -> None:
    assert [listing("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_remarks_follow_from_figures() -> None:
    good, bad = row("good", 1.1, 0.9, 10), row("bad", 30, 0.1, 1000)
    rows = [good, bad]
    assert any("as real data is" in said for said in remarks(good, rows))
    assert any("100 times slower than bad" in said for said in remarks(good, rows))
    assert any("further from the data" in said for said in remarks(bad, rows))
    assert any("too few kinds" in said for said in remarks(bad, rows))
    bad["memorisation"] |= {"copies": True, "rate": 0.4}
    assert any("copies training items: 40.0%" in said for said in remarks(bad, rows))


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_escapes_all_that_is_not_its_own(tmp_path: Path) -> None:
    rows = [row(HOSTILE), {"model": "gan", "error": HOSTILE}, {**row("ae"), "quality": None}]
    text = page.render(told(rows, HOSTILE), tmp_path)
    assert "<img src=x" not in text
    assert text.count("<script") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    PIL.Image.new("L", (4, 4)).save(tmp_path / "samples-vae.png")
    text = page.render(told([row("vae")]), tmp_path)
    assert re.findall(r"https?:|//[a-z]|url\(|@import|<link|<iframe|<form", text) == []
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'src="([^"]*)"', text))
    assert "{{" not in text


def test_policy_allows_exactly_the_page_s_own_style_and_script(tmp_path: Path) -> None:
    text = page.render(told([row("vae")]), tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert inside is not None
        assert base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode() in policy[1]
    assert " style=" not in text


def test_missing_figures_say_why(tmp_path: Path) -> None:
    likely = {**row("vae"), "likelihood": {"bits_per_dim": 3.21, "kind": "bound"}}
    plain = {**row("autoencoder"), "quality": None, "diversity": None, "speed": None, "memorisation": None}
    text = page.render(told([likely, row("gan"), plain]), tmp_path)
    assert "<small>≤</small> 3.21" in text
    assert "one class missing: 8, a blur of 1 px: 20" in text
    assert "assigns no probability" in text
    assert "a plain autoencoder" in text


def test_curves_are_drawn_from_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "gan"
    folder.mkdir(parents=True)
    lines = [{"step": i, "seconds": i / 9, "generator.loss": i, "discriminator.loss": -i} for i in range(1, 1000)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 10')
    text = page.render(told([{**row("gan"), "run": "runs/gan"}]), tmp_path)
    assert text.count('class="curve') == 2
    assert "discriminator.loss (dashed)" in text
    assert len(page.thin([(float(i), 1.0) for i in range(999)])) <= 160


# -- the folder -------------------------------------------------------------------------------------------------------

MODELS = ["gaussian-mixture", "autoencoder", "with-prior"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Evaluation by fixed figures: the names of the folders it was called with."""
    calls: list[str] = []

    def evaluate(path: Path, **_: Any) -> dict[str, Any]:
        calls.append(path.name)
        if path.name == "autoencoder":
            return {**row("autoencoder"), "quality": None, "diversity": None, "speed": None, "memorisation": None}
        return row("whatever", frechet=2.0 + len(calls))

    monkeypatch.setattr(comparison.report, "evaluate", evaluate)
    return calls


def compared(out: Path, **settings: Any) -> dict[str, Any]:
    return comparison.compare("toy:moons", models=MODELS, **{"minutes": 0.003, "out": out, **settings})


def test_compare_writes_the_promised_files(tmp_path: Path, measured: list[str]) -> None:
    out = tmp_path / "out"
    report = compared(out)
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
    assert [r["model"] for r in report["rows"]] == MODELS
    assert all({"parameters", "train_seconds", *comparison.FIGURES} <= r.keys() for r in report["rows"])
    assert report["data"]["name"]
    assert report["front"] == ["gaussian-mixture", "with-prior"] or report["front"] == ["gaussian-mixture"]
    assert report["rows"][2]["train_seconds"] > 30  # the first stage's seconds count
    for name in ("report.html", "trilemma.png", *(f"samples-{model}.png" for model in MODELS)):
        assert (out / name).stat().st_size > 1000
    assert RunFolder(out / "runs" / "with-prior").read_run().model.first == str(out / "runs" / "autoencoder")

    assert compared(out)["rows"] == report["rows"]
    assert measured == MODELS  # nothing was trained or measured twice
    with pytest.raises(UsageError, match=r"training\.minutes is 0\.003 there"):
        compared(out, minutes=0.004)
    both = [out / "runs" / name for name in MODELS[:2]]
    assert [r["model"] for r in comparison.compare(runs=both, out=tmp_path / "again")["rows"]] == MODELS[:2]
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    value = json.loads(RunFolder(both[0]).run.read_text())
    other.run.write_text(json.dumps(value | {"data": {**value["data"], "name": "rings"}}))
    with pytest.raises(UsageError, match="learned other data"):
        comparison.compare(runs=[both[0], other.path], out=tmp_path / "mixed")


def test_one_failure_loses_nothing_else(tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    execute = comparison.execute

    def failing(run: Any, out: Path, **settings: Any) -> Any:
        if out.name == "autoencoder":
            raise Diverged("step 3: the loss is not finite")
        return execute(run, out, **settings)

    monkeypatch.setattr(comparison, "execute", failing)
    rows = compared(tmp_path / "out")["rows"]
    assert "not finite" in rows[1]["error"]
    assert rows[1]["quality"] is None
    assert rows[0]["quality"] is not None
    assert "not finite" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(Diverged):
        comparison.compare("toy:moons", models=["autoencoder"], minutes=0.003, out=tmp_path / "alone")


def test_a_stopped_comparison_is_continued(
    tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = comparison.execute

    def stopping(run: Any, out: Path, **settings: Any) -> Any:
        if out.name == "autoencoder":
            raise Stopped(signal.SIGINT, str(out))
        return execute(run, out, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "execute", stopping)
        with pytest.raises(Stopped, match="Go on with the same command"):
            compared(tmp_path / "out")
    compared(tmp_path / "out")
    assert measured == MODELS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either one data set or run folders"),
        ({"data": "digits", "runs": ["x"]}, "either one data set or run folders"),
        ({"data": "digits", "models": ["vae", "vae"]}, "named twice"),
        ({"data": "digits", "models": ["vea"]}, "vae"),
        ({"runs": ["nowhere"]}, "nowhere"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        comparison.compare(**settings, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_goal_ends_in_a_recommendation(tmp_path: Path, measured: list[str]) -> None:
    report = compared(tmp_path / "out", goal="faithful")
    assert report["recommendation"]["model"] == "gaussian-mixture"
    assert escape(report["recommendation"]["sentence"]) in (tmp_path / "out" / "report.html").read_text()
    assert "recommendation" not in compared(tmp_path / "out")
