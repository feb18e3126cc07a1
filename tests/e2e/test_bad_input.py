"""Whatever is wrong is said in one sentence, with the right exit code, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.e2e.earmark import ask, call, earmark, succeed


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "a.mp3").write_bytes(b"not music")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "{tmp}/nowhere", "{out}"], 2, "the catalog {tmp}/nowhere does not exist"),
        (["run", "{tmp}/empty", "{out}"], 1, "contains no audio files"),
        (["run", "{music}", "{out}", "--model", "nope"], 2, "nope"),
        (["run", "{music}", "{out}", "--limit", "0"], 2, "limit"),
        (["run", "{music}", "{out}", "--config", "{tmp}/bad.toml"], 2, "unknown setting 'modle'"),
        (["run", "{music}", "{out}", "--no-such-option"], 2, "No such option"),
        (["run", "{music}"], 2, "Missing argument 'TABLES'"),
        (["run", "{music}", "{tmp}/file/tables"], 1, "a file is where a folder should be"),
        (["run", "{music}", "s4://x/y"], 2, "s4:// locations are not supported"),
        (["label", "{out}"], 2, "there are no tables in"),
        (["labels", "{out}"], 2, "there are no tables in"),
        (["status", "{out}"], 2, "there are no tables in"),
        (["failures", "{out}"], 2, "there are no tables in"),
        (["scan", "{tmp}/nowhere"], 2, "does not exist"),
        (["train", "{tmp}/nothing.npz", "--out", "{out}"], 2, "nothing.npz"),
    ],
)
def test_bad_input(tmp_path: Path, catalog: Path, arguments: list[str], code: int, message: str) -> None:
    """One sentence, no traceback, nothing half written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.toml").write_text("modle = 'x'\n")
    names = {"tmp": tmp_path, "music": catalog, "out": tmp_path / "out"}
    done = call(*(argument.format(**names) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert message.format(**names) in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line.lower()]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_a_model_that_does_not_load_ends_the_run(tmp_path: Path) -> None:
    """The actors' node may lack what the model needs: the run must say so, not wait all night."""
    import zipfile

    from pipeline.demo.demo_catalog import write_demo_catalog
    from pipeline.models.bundle import INFO_FILE, WEIGHTS_FILE, ModelBundle, shipped_models

    write_demo_catalog(tmp_path / "music", n_tracks=4, duration_s=12)
    (tmp_path / "broken").mkdir()
    bundle = ModelBundle.load("gtzan")
    (tmp_path / "broken" / INFO_FILE).write_text(bundle.info.model_dump_json())
    whole = zipfile.ZipFile(shipped_models()["gtzan"] / WEIGHTS_FILE)
    with zipfile.ZipFile(tmp_path / "broken" / WEIGHTS_FILE, "w") as broken:
        for name in whole.namelist():
            broken.writestr(name, b"not weights" if name.endswith(".h5") else whole.read(name))
    done = earmark("run", tmp_path / "music", tmp_path / "out", "--model", tmp_path / "broken")
    assert done.returncode == 1
    assert "the model cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr
    report = ask("status", tmp_path / "out")
    assert "failed" in report
    assert "4 labeled" in succeed("run", tmp_path / "music", tmp_path / "out")


@pytest.mark.thorough
def test_a_model_of_other_features_is_refused(tmp_path: Path, catalog: Path) -> None:
    """Labeling features that a model was not trained on would give numbers that mean nothing."""
    from pipeline.models.bundle import INFO_FILE, WEIGHTS_FILE, ModelBundle

    assert earmark("featurize", catalog, tmp_path / "out").returncode == 3
    bundle = ModelBundle.load("gtzan")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / WEIGHTS_FILE).write_bytes(bundle.weights)
    other = bundle.info.features.model_copy(update={"mel_hop": 512})
    (tmp_path / "other" / INFO_FILE).write_text(
        bundle.info.model_copy(update={"features": other}).model_dump_json()
    )
    done = earmark("label", tmp_path / "out", "--model", tmp_path / "other")
    assert done.returncode == 2
    assert other.feature_set in done.stderr
