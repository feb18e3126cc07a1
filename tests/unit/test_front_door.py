"""`import earmark`: what a notebook can do without Ray, and what it is told when it cannot."""

import ast
import copy
import doctest
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

import earmark
from jobs import read_tables
from pipeline.demo.synthesis import synthesize
from pipeline.models.bundle import ModelBundle
from pipeline.tables.current import current_labels
from pipeline.tables.format_version import FORMAT_FILE
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas import errors as error_types
from schemas.errors import (
    DecodeError,
    EarmarkError,
    EmptyFileError,
    MisuseError,
    NotAFileError,
    NotFoundError,
    TrackError,
)
from schemas.features import FeatureSpec
from tests.hostile import flac_bomb
from tests.table_history import MODEL, TableHistory, tracks

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASE = ROOT / "tests" / "releases" / "0.1.0" / "tables"
RATE = 22050


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as a notebook stands in: a song, some music, tables."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "music").mkdir()
    soundfile.write(folder / "song.wav", synthesize("classical", seed=[0], duration_s=65, sr=RATE), RATE)
    soundfile.write(folder / "music/other.wav", synthesize("rock", seed=[1], duration_s=5, sr=RATE), RATE)
    (folder / "music/broken.mp3").write_bytes(b"liner notes")
    shutil.copytree(RELEASE, folder / "tables")
    return folder


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and Python stands in it."""
    monkeypatch.chdir(home)
    return home


@pytest.fixture(scope="module")
def model() -> earmark.Model:
    return earmark.load_model("gtzan")


EXAMPLES = {
    "earmark": earmark,
    "label": earmark.label,
    "load_model": earmark.load_model,
    "Model.predict_proba": earmark.Model.predict_proba,
    "describe": earmark.describe,
    "track_features": earmark.track_features,
    "open_tables": earmark.open_tables,
    "plots": earmark.plots,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_true(here: Path, name: str) -> None:
    """A newcomer copies the first example they see, and it fails."""
    told: list[str] = []
    runner = doctest.DocTestRunner()
    (example,) = doctest.DocTestFinder(recurse=False).find(EXAMPLES[name], name, globs={})
    result = runner.run(example, out=told.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(told)


def test_every_public_name_is_there_and_typed() -> None:
    """An editor would offer a name that does not exist, or know nothing of one that does."""
    assert set(earmark.__all__) <= set(dir(earmark))
    for name in earmark.__all__:
        assert getattr(earmark, name) is not None
    assert earmark.__version__
    with pytest.raises(AttributeError, match="module 'earmark' has no attribute 'lable'"):
        _ = earmark.lable
    tree = ast.parse((ROOT / "earmark/__init__.py").read_text("utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(earmark.__all__) - {"__version__"} <= typed


def test_the_errors_are_those_that_are_raised() -> None:
    """`except earmark.errors.DecodeError` would not catch what a call raises."""
    known = {
        name
        for name, value in vars(error_types).items()
        if isinstance(value, type) and issubclass(value, EarmarkError)
    }
    assert set(earmark.errors.__all__) == known
    assert all(getattr(earmark.errors, name) is getattr(error_types, name) for name in known)
    assert earmark.__doc__ is not None
    assert all(name in earmark.__doc__ for name in known - {"LabelerCrashedError"})


@pytest.mark.slow
def test_what_belongs_together_has_types_that_fit(tmp_path: Path) -> None:
    """A user's type checker would refuse what the documentation shows, and they could only silence it."""
    checker = pytest.importorskip("mypy.api")
    (tmp_path / "notebook.py").write_text(
        "import earmark\n"
        "model = earmark.load_model()\n"
        "track = earmark.track_features('song.wav', model.features)\n"
        "log_mels = [segment.log_mel for segment in track.segments]\n"
        "model.predict_proba(log_mels), model.predict(log_mels), model.embed(log_mels)\n"
        "view = earmark.plots.view_track('song.wav', model.features)\n"
        "earmark.plots.segment_probabilities(view, model)\n"
        "earmark.open_tables('tables').labels(model)\n"
    )
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    found, _, status = checker.run([*options, str(tmp_path / "notebook.py")])
    assert status == 0, found


@pytest.mark.parametrize("name", ["pipeline", "jobs", "schemas"])
@pytest.mark.parametrize("form", ["package", "module"])
def test_a_folder_that_hides_ours_is_named(tmp_path: Path, name: str, form: str) -> None:
    """Whoever has a folder called pipeline would get "cannot import name" from the depths."""
    if form == "package":
        hiding = tmp_path / name
        hiding.mkdir()
        (hiding / "__init__.py").write_text("raise SystemExit('imported')")
    else:
        hiding = tmp_path / f"{name}.py"
        hiding.write_text("raise SystemExit('imported')")
    done = _python("import earmark", tmp_path)
    kind = "folder" if form == "package" else "file"
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: the {kind} {hiding} hides Earmark's own package '{name}'; rename it, or start in "
        "another folder and keep this one off PYTHONPATH and out of a job's working_dir"
    )


def test_a_module_of_that_name_that_is_imported_already_is_named(tmp_path: Path) -> None:
    """In a notebook that imported its own pipeline first, what is on the path is not what counts."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/pipeline.py").write_text("")
    done = _python("import sys; sys.path.insert(0, 'mine'); import pipeline; import earmark", tmp_path)
    assert f"the file {tmp_path}/mine/pipeline.py hides Earmark's own package" in done.stderr


def test_other_folders_hide_nothing(tmp_path: Path) -> None:
    """A user whose folders only look alike would be sent away."""
    for name in ("pipelines", "job", "data", "earmark-demo"):
        (tmp_path / name).mkdir()
    assert _python("import earmark; earmark.errors.TrackError", tmp_path).returncode == 0


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # What pytest has put on the path is left out: the package is found as a user's Python finds it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_list_keeps_its_order_and_never_raises_for_a_track(here: Path, model: earmark.Model) -> None:
    """One bad file of a thousand would cost a notebook all labels, or move them to other tracks."""
    soundfile.write(here / "silence.flac", np.zeros(3 * RATE, np.float32), RATE)
    soundfile.write(here / "short.wav", np.zeros(RATE // 5), RATE)
    (here / "empty.mp3").write_bytes(b"")
    os.mkfifo(here / "pipe.wav")
    names: list[str | Path] = [
        "empty.mp3",
        Path("song.wav"),
        "missing.mp3",
        "long" * 99,
        "silence.flac",
        "short.wav",
        "pipe.wav",
        here / "music",
        "song.wav",
    ]
    labels = model.label(iter(names))
    uris = ["empty.mp3", "song.wav", "missing.mp3", "long" * 99, "silence.flac", "short.wav", "pipe.wav"]
    uris += ["music/broken.mp3", "music/other.wav", "song.wav"]
    assert labels["uri"].tolist() == [str(here / name) for name in uris]
    kinds = ["EmptyFileError", "", "NotFoundError", "NotFoundError", "", "TooShortError", "NotAFileError"]
    assert labels["error_type"].fillna("").tolist() == [*kinds, "DecodeError", "", ""]
    failed = labels["error_type"].notna()
    assert labels["error"].notna().tolist() == failed.tolist()
    assert labels.loc[failed, ["genre", "confidence", "p_jazz", "duration_s"]].isna().all(axis=None)
    assert labels.loc[~failed, "duration_s"].tolist() == pytest.approx([65, 3, 5, 65])
    assert labels["genre"].isna()[4]
    assert labels.loc[4, "confidence"] == pytest.approx(0.1)
    pd.testing.assert_series_equal(labels.iloc[1], labels.iloc[9], check_names=False)
    p = labels.loc[~failed, [f"p_{genre}" for genre in model.genres]]
    assert p.sum(axis=1).to_numpy() == pytest.approx(1)
    assert (p.max(axis=1) == labels.loc[~failed, "confidence"]).all()
    assert set(labels.dtypes[["confidence", "p_jazz"]]) == {np.dtype(np.float32)}
    for name in ("silence.flac", "short.wav", "empty.mp3", "pipe.wav"):
        (here / name).unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("music/broken.mp3", DecodeError),
        ("nothing.mp3", NotFoundError),
        ("no folder", NotFoundError),
        ("/dev/null", NotAFileError),
        ("empty.mp3", EmptyFileError),
    ],
)
def test_a_single_track_raises_why_it_cannot_be_labeled(
    here: Path, model: earmark.Model, name: str, error: type[TrackError]
) -> None:
    """Somebody who asks for one file would get a row of nothing, and go on with it."""
    (here / "empty.mp3").write_bytes(b"")
    with pytest.raises(error, match=Path(name).name):
        model.label(name)
    assert model.label([name])["error_type"].tolist() == [error.__name__]
    with pytest.raises(error, match=Path(name).name):
        earmark.describe(Path(name))
    (here / "empty.mp3").unlink()


@pytest.mark.slow
def test_the_next_call_starts_no_process(here: Path) -> None:
    """A loop over tracks would take a second more for each; the first call also starts TensorFlow."""
    code = (
        "import earmark, psutil\n"
        "for _ in range(2):\n"
        "    earmark.label('music/other.wav')\n"
        "    print(*(child.pid for child in psutil.Process().children()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second != ""


@pytest.mark.slow
def test_a_track_that_takes_too_long_costs_its_row(here: Path, model: earmark.Model) -> None:
    """A file that never ends would hang a notebook for ever; one that crashes its decoder would end it."""
    Path("weeks.flac").write_bytes(flac_bomb(24 * 7 * 5, cut=True))
    labels = model.label(["song.wav", "weeks.flac"], track_timeout_s=2.0)
    assert labels["error_type"].fillna("").tolist() == ["", "TimedOutError"]


@pytest.mark.slow
def test_a_confidence_that_is_too_low_leaves_the_genre_open(here: Path, model: earmark.Model) -> None:
    """The option of the command would mean something else in a notebook."""
    sure = model.label("song.wav")
    (confidence,) = sure["confidence"]
    same = model.label("song.wav", min_confidence=float(confidence))
    pd.testing.assert_frame_equal(same, sure)
    above = math.nextafter(float(confidence), 1)
    unsure = model.label("song.wav", min_confidence=above)
    assert unsure["genre"].isna().tolist() == [True]
    pd.testing.assert_frame_equal(unsure.drop(columns="genre"), sure.drop(columns="genre"))


@pytest.mark.slow
def test_tracks_can_be_a_column_of_the_tables(here: Path, model: earmark.Model) -> None:
    """The failures of a run could not be labeled again: their locations are Arrow scalars."""
    uris = pa.table({"uri": ["song.wav", "nothing.mp3"]})["uri"]
    assert model.label(uris)["error_type"].fillna("").tolist() == ["", "NotFoundError"]


@pytest.mark.slow
def test_probabilities_of_labels_are_rounded_as_those_of_the_tables_are(here: Path) -> None:
    """The same label of the same track would differ in the eighth digit."""
    soundfile.write("beats.wav", synthesize("hiphop", seed=[1], duration_s=10, sr=RATE), RATE)
    (found,) = earmark.label("beats.wav")["labels"]
    assert found
    assert all(each["probability"] == float(np.float32(each["probability"])) for each in found)
    Path("beats.wav").unlink()


def test_no_tracks_give_no_rows(here: Path, model: earmark.Model) -> None:
    """A filter that leaves nothing would end a notebook's loop, which expects the columns."""
    nothing = model.label([])
    assert len(nothing) == 0
    some = model.label("song.wav")
    assert nothing.dtypes.to_dict() == some.dtypes.to_dict()
    schemas = [pa.Schema.from_pandas(frame) for frame in (nothing, some)]
    assert schemas[0].equals(schemas[1]), "files of two batches can be read together"
    (here / "void").mkdir()
    with pytest.raises(EarmarkError, match="void contains no audio files"):
        model.label("void")
    (here / "void").rmdir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_confidence": 1.5}, "setting 'min_confidence'"),
        ({"track_timeout_s": 0}, "setting 'track_timeout_s'"),
        ({"track_memory_mb": 1}, "setting 'track_memory_mb'"),
        ({"model": "nothing"}, "there is no model 'nothing'"),
        ({"tracks": "list.csv"}, r"list\.csv does not exist"),
        ({"tracks": ""}, "empty"),
        ({"tracks": ["song.wav", ""]}, r"number 1 \(from 0\) is ''"),
        ({"tracks": pd.Series(["song.wav", None])}, r"number 1 \(from 0\) is "),
        ({"tracks": pa.array(["song.wav", None])}, r"number 1 \(from 0\) is None"),
        ({"tracks": pd.DataFrame({"uri": ["song.wav"]})}, r"such as frame\['uri'\]"),
        ({"tracks": None}, "iterable of these, not None"),
        ({"model": None}, "a model is given by its name, path or URI, not by None"),
    ],
)
def test_misuse_is_said_in_a_sentence(here: Path, options: dict[str, Any], message: str) -> None:
    """A typing error would end in the traceback of a library that the user has never heard of."""
    arguments = {"tracks": "song.wav"} | options
    with pytest.raises(MisuseError, match=message):
        earmark.label(**arguments)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: earmark.load_model(None), "a model is given by its name, path or URI, not by None"),  # type: ignore[arg-type]
        (lambda: earmark.load_model(b"default"), "not by b'default'"),  # type: ignore[arg-type]
        (lambda: earmark.open_tables(None), "the root of tables is given by .* not by None"),  # type: ignore[arg-type]
        (lambda: earmark.track_features(None), "a track is given by .* not by None"),  # type: ignore[arg-type]
        (lambda: earmark.describe(["song.wav"]), r"a track is given by .* not by \['song.wav'\]"),  # type: ignore[arg-type]
        (lambda: earmark.plots.view_track(5), "a track is given by .* not by 5"),  # type: ignore[arg-type]
        (lambda: earmark.open_tables("a\0b"), r"the root of tables is named 'a\\x00b', but no path"),
    ],
)
def test_names_that_are_none_are_said_to_be(ask: Callable[[], object], message: str) -> None:
    """A variable that is not set would end in a TypeError of `os`, which those who catch ours do not."""
    with pytest.raises(MisuseError, match=message):
        ask()


@pytest.mark.parametrize("ask", [earmark.track_features, earmark.describe, earmark.plots.view_track])
def test_a_model_in_place_of_its_features_is_named(here: Path, ask: Callable[..., object]) -> None:
    """It would end in an AttributeError about a field of the features."""
    with pytest.raises(MisuseError, match=r"such as the features of a model, not <earmark\.Model "):
        ask("song.wav", earmark.load_model())


@pytest.mark.slow
def test_a_manifest_is_a_list_of_tracks(here: Path, model: earmark.Model) -> None:
    """The lists that `earmark run` takes would have to be read by hand."""
    (here / "list.csv").write_text("uri\nsong.wav\nmusic/other.wav\n")
    labels = model.label("list.csv")
    assert labels["uri"].tolist() == [str(here / "song.wav"), str(here / "music/other.wav")]
    (here / "list.csv").unlink()


def test_a_model_shows_what_it_is(model: earmark.Model) -> None:
    """A notebook would print two megabytes of weights."""
    assert repr(model) == f"<earmark.Model {model.name}, 10 genres>"
    assert model.name.startswith("gtzan-cnn-")
    assert model.features == model.info.features


@pytest.mark.slow
def test_a_model_that_has_predicted_can_be_sent_to_another_process(model: earmark.Model) -> None:
    """A model could be given to a pool of processes, or copied, only until it was used."""
    segments = [np.zeros((128, 388), np.uint8)]
    expected = model.predict_proba(segments)
    pickled = pickle.loads(pickle.dumps(model))  # noqa: S301 (our own)
    for same in (pickled, copy.deepcopy(model)):
        np.testing.assert_array_equal(same.predict_proba(segments), expected)


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        (np.zeros((128, 388), np.uint8), r"number 0 has shape \(388,\) and dtype uint8"),
        ([np.zeros((64, 388), np.uint8)], r"number 0 has shape \(64, 388\)"),
        ([np.zeros((128, 388), np.uint8), np.zeros((128, 388))], "number 1 has .* dtype float64"),
        ([np.zeros((128, 0), np.uint8)], r"number 0 has shape \(128, 0\)"),
        ([None], r"number 0 has shape \(\) and dtype object"),
        ([[[1, 2], [3]]], r"number 0 has shape \(2,\) and dtype object"),
    ],
    ids=["one segment", "other bands", "floats", "no frames", "none", "rows of different lengths"],
)
def test_segments_that_the_model_cannot_read_are_refused(
    model: earmark.Model, segments: Any, found: str
) -> None:
    """One segment without a list would end in an IndexError of NumPy, floats in wrong probabilities."""
    for ask in (model.predict_proba, model.predict, model.embed):
        with pytest.raises(MisuseError, match=rf"each of shape \(128, t\) and dtype uint8, but {found}"):
            ask(segments)
        with pytest.raises(MisuseError, match="reads a list of log-mels, not 5"):
            ask(5)  # type: ignore[arg-type]


def test_segments_can_be_generated(model: earmark.Model) -> None:
    """Without the brackets around the segments of the example, the call ended in a TypeError about len()."""
    segments = [np.zeros((128, 388), np.uint8)] * 2
    for ask in (model.predict_proba, model.embed):
        np.testing.assert_array_equal(ask(segment for segment in segments), ask(segments))


def test_descriptors_that_the_model_cannot_read_are_refused(model: earmark.Model) -> None:
    """Descriptors of one segment, or of fewer than there are log-mels, would end in NumPy's words."""
    assert isinstance(model.bundle, ModelBundle)
    features = model.features.model_copy(update={"descriptors": True})
    info = model.info.model_copy(update={"features": features})
    reader = earmark.Model(replace(model.bundle, info=info))
    log_mels = [np.zeros((128, 388), np.uint8)] * 2
    with pytest.raises(MisuseError, match=r"descriptors of shape \(n, 57\), not \(57,\)"):
        reader.predict(log_mels, np.zeros(57))
    with pytest.raises(MisuseError, match="2 log-mels, but descriptors of 3 segments"):
        reader.predict(log_mels, np.zeros((3, 57)))
    with pytest.raises(MisuseError, match=r"descriptors of shape \(n, 57\), not \(2,\)"):
        reader.predict(log_mels, [[0.0] * 57, [0.0] * 56])
    for odd in (np.full((2, 57), np.nan), np.full((2, 57), np.inf), [["high"] * 57] * 2):
        with pytest.raises(MisuseError, match="reads descriptors that are finite numbers"):
            reader.predict(log_mels, odd)


@pytest.mark.slow
def test_descriptors_can_be_the_columns_of_a_frame(here: Path) -> None:
    """What `earmark.describe` returns would end in a ValueError about the name of a column."""
    settings = TrainingSettings.for_arch("dense").changed({"epochs": 1, "threads": 1})
    rng = np.random.default_rng(0)
    rows, tracks = rng.normal(size=(8, 57)), np.array(list("abcdefgh"))
    data = TrainingSet(
        None, np.arange(8) % 2, tracks, ("a", "b"), rows, FeatureSpec(log_mel=False, descriptors=True)
    )
    model = earmark.Model(train(data, data, TrainingOptions("small", "track", "rows", settings)))
    described = earmark.describe("song.wav").iloc[:, 2:]
    expected = model.predict_proba(descriptors=described.to_numpy())
    np.testing.assert_array_equal(model.predict_proba(descriptors=described), expected)


def test_a_view_with_the_features_of_another_model_is_refused(here: Path) -> None:
    """The defaults of two calls that belong together gave wrong probabilities without a word."""
    view = earmark.plots.view_track("song.wav")
    default = earmark.load_model()
    with pytest.raises(MisuseError, match=r"make it with view_track\(track, model.features\)"):
        earmark.plots.segment_probabilities(view, default)


@pytest.mark.slow
def test_a_view_has_the_probabilities_of_its_track(here: Path) -> None:
    """A notebook's plot would show other numbers than the labels."""
    model = earmark.load_model()
    found = earmark.plots.segment_probabilities(
        earmark.plots.view_track(Path("song.wav"), model.features), model
    )
    segments = earmark.track_features("song.wav", model.features).segments
    np.testing.assert_array_equal(found, model.predict_proba([segment.log_mel for segment in segments]))


def test_an_ensembles_features_can_be_described(here: Path) -> None:
    """Who describes a track with the features of their model would get an error of Python."""
    spec = earmark.load_model("default+gtzan").features
    found = earmark.describe("music/other.wav", spec)
    pd.testing.assert_frame_equal(found, earmark.describe("music/other.wav", spec.specs[0]))


def test_tables_are_read_as_the_commands_read_them_and_never_written(home: Path) -> None:
    """An analyst would come to other numbers than the command line, or change what a run goes by."""
    before = {path: path.stat().st_mtime_ns for path in (home / "tables").rglob("*")}
    tables = earmark.open_tables(home / "tables")
    stored = read_tables.open_tables(str(home / "tables"))
    assert tables.models() == ["small-35b1e80b"]
    assert tables.labels().equals(current_labels(stored, "small-35b1e80b"))
    assert tables.labels("small", genre="blues").num_rows == 4
    assert tables.labels("small", genre="Blues").num_rows == 4
    with pytest.raises(MisuseError, match="has no genre 'polka'"):
        tables.labels(genre="polka")
    assert tables.failures().equals(read_tables.read_failures(stored, None))
    tracks = tables.tracks().to_pandas()
    assert len(tracks) == 6
    assert tracks["uri"].is_monotonic_increasing
    assert {"track_id", "uri", "etag", "duration_s", "genre_tag", "listed_at"} <= set(tracks)
    shares = tables.trends("folder").to_pandas()
    assert shares.groupby("folder")["share"].sum().to_numpy() == pytest.approx(1)
    with pytest.raises(MisuseError, match=r"^changes need groups in time, not folder; group by year, "):
        tables.trends("folder", show="changes")
    runs = tables.runs().to_pandas()
    assert runs["run"].is_monotonic_increasing
    assert runs["listed"].tolist() == [6, 6]
    assert {path: path.stat().st_mtime_ns for path in (home / "tables").rglob("*")} == before


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda tables: tables.trends("folder", show="share"),
            "show is shares, .* or disagreements, not 'share'",
        ),
        (lambda tables: tables.trends("folder", weight="conf"), "weight is count or confidence, not 'conf'"),
        (lambda tables: tables.trends("folder", top=0), "top is a whole number of at least 1, not 0"),
        (lambda tables: tables.trends("folder", top=2.5), "top is a whole number of at least 1, not 2.5"),
        (lambda tables: tables.trends(None), "by is year, .* not None"),
        (lambda tables: tables.labels(min_confidence=50), "setting 'min_confidence'"),
        (lambda tables: tables.labels(min_confidence=math.nan), "setting 'min_confidence'"),
        (lambda tables: tables.labels(genre=["a", "b"]), "genre is the name of one genre, not .'a', 'b'."),
        (lambda tables: tables.labels(5), "a model is a name, a folder or an earmark.Model, not 5"),
        (
            lambda tables: tables.labels("smal"),
            r"no labels of the model smal \(they contain small-35b1e80b\)",
        ),
        (
            lambda tables: tables.failures("smal"),
            r"no runs of the model smal \(they contain small-35b1e80b\)",
        ),
        (lambda tables: tables.similar("x", 2.5), "n is a whole number of at least 1, not 2.5"),
    ],
)
def test_misuse_of_tables_is_said_in_a_sentence(
    home: Path, ask: Callable[[earmark.Tables], object], message: str
) -> None:
    """A typing error would end in a KeyError, or in a table with no rows that looks like an answer."""
    with pytest.raises(MisuseError, match=message):
        ask(earmark.open_tables(home / "tables"))


def test_a_model_is_named_by_itself_and_by_its_folder(home: Path) -> None:
    """A notebook that has loaded a model would have to find out under which name the tables know it."""
    tables = earmark.open_tables(home / "tables")
    folder = home / "tables/_models/small-35b1e80b"
    for model in ("small-35b1e80b", folder, earmark.load_model(folder)):
        assert tables.labels(model).equals(tables.labels())
        assert tables.failures(model).equals(tables.failures())
        assert tables.trends("folder", model, top=np.int64(1)).num_rows
    assert tables.labels(min_confidence=np.float32(1)).num_rows == 0


def test_tables_in_which_every_track_failed(tmp_path: Path) -> None:
    """Who asks why a model has labeled nothing would be told to run it first, and so would a script."""
    history = TableHistory(tmp_path)
    history.run({}, failing=tracks(3))
    tables = earmark.open_tables(tmp_path)
    for model in (None, "cnn", MODEL):
        assert tables.failures(model).num_rows == 3
        with pytest.raises(MisuseError, match=f"no track .* labeled, .*; 'earmark failures {tmp_path}'"):
            tables.labels(model)


def test_tables_that_are_none_or_newer_are_refused(home: Path, tmp_path: Path) -> None:
    """A notebook would show an empty catalog where the path is wrong, or misread what is newer."""
    with pytest.raises(MisuseError, match="there are no tables in"):
        earmark.open_tables(tmp_path)
    (tmp_path / FORMAT_FILE).write_text('{"format_version": 2}')
    with pytest.raises(MisuseError, match="made by a newer Earmark"):
        earmark.open_tables(tmp_path)


@pytest.mark.slow
def test_reading_tables_needs_neither_ray_nor_tensorflow(home: Path) -> None:
    """A dashboard that shows the labels would take a gigabyte, and ten seconds to start."""
    code = (
        "import earmark, sys; tables = earmark.open_tables('tables'); tables.labels(); tables.tracks(); "
        "tables.failures(); tables.trends('folder'); tables.runs(); "
        "print(*{'ray', 'tensorflow', 'librosa', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = _python(code, home)
    assert (done.stdout.split(), done.stderr) == ([], "")
