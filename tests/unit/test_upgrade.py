"""Tables that the default model of 0.1.0 labeled go on with it, and say so."""

from pathlib import Path

import pytest

from jobs.cli.main import app
from jobs.run.request import EARLIER_DEFAULT, Job, make_job
from pipeline.models.bundle import ModelBundle
from schemas.config import RunConfig
from schemas.errors import MisuseError


def keep(tables: Path, name: str) -> None:
    """Keep a shipped model beside tables, as a run does."""
    bundle = ModelBundle.load(name)
    bundle.save(tables / "_models" / bundle.model)


def request(folder: Path, config: RunConfig) -> Job:
    return make_job("run", str(folder / "music"), str(folder / "tables"), config)


def test_tables_of_the_earlier_default_are_not_decoded_again(tmp_path: Path) -> None:
    """The first night after an upgrade would take hours and money that nobody agreed to."""
    assert request(tmp_path, RunConfig()).config.model == "default"
    keep(tmp_path / "tables", EARLIER_DEFAULT)
    job = request(tmp_path, RunConfig())
    assert (job.config.model, job.bundle.model) == (EARLIER_DEFAULT, "gtzan-cnn-304cb835")
    # Whoever chose it gets it, and it is the default from then on.
    assert request(tmp_path, RunConfig(model="default")).config.model == "default"
    keep(tmp_path / "tables", "default")
    assert request(tmp_path, RunConfig()).config.model == "default"


def test_a_model_may_be_named_as_in_the_tables(tmp_path: Path) -> None:
    """Whoever copies the name that `status` prints, or has lost the folder of a model that the tables keep,
    hears that there is no such model."""
    shipped = ModelBundle.load("gtzan")
    assert request(tmp_path, RunConfig(model=shipped.model)).bundle.model == shipped.model
    trained = ModelBundle(shipped.info.model_copy(update={"name": "mine"}), shipped.weights)
    name = trained.model
    with pytest.raises(MisuseError, match=f"there is no model '{name}'"):
        request(tmp_path, RunConfig(model=name))
    trained.save(tmp_path / "tables" / "_models" / name)
    assert request(tmp_path, RunConfig(model=name)).bundle.model == name


def test_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody would wait for the better labels that the release notes promise."""
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.wav").write_bytes(b"not audio")
    keep(tmp_path / "tables", EARLIER_DEFAULT)
    app(["run", str(tmp_path / "music"), str(tmp_path / "tables"), "--dry-run"], standalone_mode=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "labeled by 'gtzan', the default of 0.1.0, so this run uses it too" in said
    assert "add --model default" in said
