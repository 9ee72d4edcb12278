"""Settings and names that are wrong, odd or hostile: exit 2, the path of the fault, and nothing written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from figment import planning, workbench
from figment.cli import main
from figment.core.config import parse_assignments
from figment.core.errors import UsageError
from figment.core.run import check_name

TRAIN = ["train", "vae", "--data", "digits", "--out", "run", "--steps", "2"]


def refused(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The message of a command that ends with 2; it printed no result and wrote nothing."""
    monkeypatch.setattr(sys, "argv", ["figment", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert caught.value.code == 2, err
    assert out == ""
    assert not Path("run").exists()
    assert not Path("runs").exists()
    return err


SETTINGS = {
    "model.latnet=3": "Did you mean 'latent'?",
    "training.lr=1e-3x": "'training.lr': Input should be a valid number",
    "training.lr=-1": "greater than 0",
    "training.lr=NaN": "finite number",
    "training.lr=1e999": "finite number",
    "training.batch=0": "greater than or equal to 1",
    "training.batch=1.5": "valid integer",
    "training.betas=[2,0.9]": "'training.betas.0'",
    "training.betas=[0.9]": "'training.betas.1'",
    "training.precision=fp8": "'fp32'",
    "training=5": "'training'",
    "modle.latent=3": "Did you mean 'model'?",
    "model.latent.deep=3": "has no group 'latent'",
    "model.kind=gan": "'drop_label' is not a setting here",
    "model.kind=../../evil": "There is no model kind '../../evil'",
    "model.kind=os:system": "There is no model kind 'os:system'",
    "seed=-1": "'seed'",
    "seed=9223372036854775808": "'seed'",
    "data.kind=zzz": "There is no data kind",
    "=3": "is not KEY=VALUE",
    "model.latent": "is not KEY=VALUE",
    "__class__=3": "has no '__class__'",
}


APART = {
    ("vae", "model.objective=iwae", "model.beta=2"): "error: objective=iwae has no beta: leave it out",
    ("autoencoder", "model.contraction=2"): "error: contraction is of regulariser=contractive (given: none)",
    ("autoencoder", "model.corruption=0.5"): "error: corruption is of regulariser=denoising",
    ("autoencoder", "model.regulariser=denoising", "model.noise=masking", "model.corruption=2"): "from 0 to 1",
}


@pytest.mark.parametrize(("words", "message"), APART.items())
def test_settings_that_exclude_each_other_are_named(words: tuple[str, ...], message: str, capsys, monkeypatch) -> None:
    kind, *settings = words
    assert message in refused(["train", kind, *TRAIN[2:], *settings], capsys, monkeypatch)


@pytest.mark.parametrize(("setting", "message"), SETTINGS.items())
def test_a_wrong_setting_is_named(setting: str, message: str, capsys, monkeypatch) -> None:
    assert message in refused([*TRAIN, setting], capsys, monkeypatch)


OPTIONS = {
    ("--steps", "0"): "'training.steps'",
    ("--minutes", "1"): "by --steps or by --minutes",
    ("--precision", "fp8"): "There are: auto, bf16, fp16, fp32",
    ("--device", "tpu"): "There are: auto, cpu, cuda, mps",
    ("--batch", "many"): "Invalid value for '--batch'",
    ("--data", "digit"): "Did you mean 'digits'?",
    ("--data", "toy:moon"): "Did you mean 'moons'?",
    ("--config", "nowhere.json"): "No such file",
    ("--no-such-option",): "No such option",
}


@pytest.mark.parametrize(("words", "message"), OPTIONS.items())
def test_a_wrong_option_is_named(words: tuple[str, ...], message: str, capsys, monkeypatch) -> None:
    assert message in refused([*TRAIN, *words], capsys, monkeypatch)


def test_a_model_is_asked_for_by_its_name(capsys, monkeypatch) -> None:
    assert "Did you mean 'vae'?" in refused(["train", "vea", "--data", "digits"], capsys, monkeypatch)
    assert "--data digits" in refused(["train", "vae"], capsys, monkeypatch)


FILES = {
    "not.json": (b'{"model": ', "is not valid json"),
    "not.toml": (b"model = ", "is not valid toml"),
    "latin.json": ('{"seed": "é"}'.encode("latin-1"), "is not valid json"),
    "list.json": (b"[1, 2]", "a table of model, data, training, seed is wanted"),
    "deep.json": (b'{"model":' * 20_000, "is not valid json"),
    "deep.toml": (b"a = " + b"[" * 20_000, "is not valid toml"),
    "digits.json": (b'{"seed": ' + b"9" * 10_000 + b"}", "is not valid json"),
    "large.json": (b" " * 1_000_001, "are too many for a config"),
    "unknown.json": (b'{"modell": {}}', "'modell' is not a setting here"),
    "nested.toml": (b"[training]\nlearning_rate = 1", "'training.learning_rate' is not a setting here"),
    "type.toml": (b"training = 5", "'training'"),
    "text.json": (b'{"model": "vae"}', "'model'"),
    "data.json": (b'{"data": 5}', "'data'"),
    "date.toml": (b"seed = 2020-01-01", "'seed'"),
    "object.json": (b'{"model": {"kind": "!!python/object:os.system"}}', "There is no model kind"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_config_file_is_named(name: str, capsys, monkeypatch, tmp_path: Path) -> None:
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    words = [*TRAIN, "--config", name]
    if name == "data.json":
        words = ["train", "vae", "--out", "run", "--config", name]
    assert message in refused(words, capsys, monkeypatch)


def test_a_folder_is_no_config(capsys, monkeypatch, tmp_path: Path) -> None:
    assert "Is a directory" in refused([*TRAIN, "--config", str(tmp_path)], capsys, monkeypatch)


def test_a_run_value_is_a_config(tmp_path: Path) -> None:
    """What `run.json` holds can be given back, and TOML says the same."""
    run = planning.plan("vae", "toy:moons", seed=3, overrides={"training.steps": 2, "model.latent": 1})
    path = tmp_path / "run.json"
    path.write_text(run.model_dump_json())
    base = planning.read_config(path)
    assert planning.plan("vae", planning.data_of(base) or "", base=base) == run
    (tmp_path / "run.toml").write_text('data = "toy:moons"\nseed = 3\n[model]\nlatent = 1\n[training]\nsteps = 2\n')
    base = planning.read_config(tmp_path / "run.toml")
    assert planning.plan("vae", planning.data_of(base) or "", base=base) == run


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "x" * 300, "a\0b", "con", "NUL.txt", "lpt1", "", "/", "x/" * 600]
)
def test_names_that_hide_or_break_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(Path(name))


def test_usual_names_are_taken(tmp_path: Path) -> None:
    for name in ("runs/vae-digits", str(tmp_path / "mine"), "ein Lauf", "日本"):
        check_name(Path(name))


def test_a_refused_run_leaves_its_name_free(capsys, monkeypatch) -> None:
    """What only building the model finds out is found after the folder was claimed."""
    monkeypatch.setattr(sys, "argv", ["figment", *TRAIN, "model.decoder=bernoulli"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "bernoulli models black and white" in capsys.readouterr().err
    run = planning.plan("vae", "digits", overrides={"training.steps": 2, "model.size": "tiny"})
    assert workbench.execute(run, "run").read_status()["state"] == "done"


def test_a_damaged_run_file_is_exit_5(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "run").mkdir()
    for text in ("{", json.dumps({"format": 99})):
        (tmp_path / "run" / "run.json").write_text(text)
        (tmp_path / "run" / "env.json").write_text("{}")
        monkeypatch.setattr(sys, "argv", ["figment", *TRAIN, "--resume"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 5
        assert "run.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,2", [1, 2]), ("0.2,8e-1", [0.2, 0.8]), ("[1,2]", [1, 2]), ("3", 3), ("red, blue", "red, blue"), ("", ""),
     ("1,", "1,"), ("true,1", "true,1")],
)  # fmt: skip
def test_numbers_with_commas_are_several_numbers(text: str, value: object) -> None:
    assert parse_assignments([f"key={text}"]) == {"key": value}
