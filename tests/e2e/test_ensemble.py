"""`earmark run --model gtzan+default` beside each of its models alone."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import earmark
from jobs.evaluation.evaluate import evaluate_job
from jobs.evaluation.request import Request
from jobs.run.request import Command, make_job
from jobs.run.run import run_job
from pipeline.models.combination import combine_probabilities
from pipeline.tables.format_version import tables_at
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.training.data.labeled_tables import import_tables
from schemas.config import RunConfig
from tests.encoders import encode, sweep

pytestmark = pytest.mark.usefixtures("on_running_ray")

RATE = 22050


def write_music(folder: Path) -> None:
    """Tracks of about a segment of `gtzan`, by genre; polka is none that the models know."""
    rng = np.random.default_rng(1)
    for place, seconds in {"classical/a.wav": 34.0, "country/b.flac": 41.0, "polka/c.mp3": 33.0}.items():
        path = folder / place
        path.parent.mkdir(parents=True)
        y = sweep(RATE, seconds, 2)
        y += rng.normal(0, 0.05, y.shape).astype(np.float32)
        path.write_bytes(encode(y, RATE, path.suffix[1:]))
    silence = np.zeros(12 * RATE, np.float32)
    (folder / "country/silence.wav").write_bytes(encode(silence, RATE, "wav"))
    (folder / "country/broken.mp3").write_bytes(b"liner notes, not music")


def run(command: Command, music: Path | None, tables: Path, model: str) -> None:
    """Run a command to its end."""
    catalog = None if music is None else str(music)
    report = run_job(make_job(command, catalog, str(tables), RunConfig(model=model)), lambda sentence: None)
    assert (report.outcome, report.counts.labeled) == ("done", 4)


def read_labels(tables: Path) -> pd.DataFrame:
    """The current labels of the ensemble."""
    found: pd.DataFrame = earmark.open_tables(tables).labels().to_pandas().set_index("uri").sort_index()
    return found


def label(music: Path, model: str) -> pd.DataFrame:
    """The labels that a notebook gets, of the tracks that get one."""
    found = earmark.label(music, model)
    return found[found["error"].isna()].set_index("uri").sort_index()


@pytest.mark.thorough
def test_a_run_combines_what_its_models_say_alone(tmp_path: Path) -> None:
    """The labels would not be those of the two models, or others from stored features or in a notebook."""
    music, tables = tmp_path / "music", tmp_path / "tables"
    write_music(music)
    run("run", music, tables, "gtzan+default")
    labels = read_labels(tables)
    assert set(labels["model"]) == {"default-gtzan-41f06b1e"}

    gtzan, default = label(music, "gtzan"), label(music, "default")
    for uri, row in labels.iterrows():
        members = [each.loc[str(uri)].filter(like="p_") for each in (gtzan, default)]
        known = [[name.removeprefix("p_") for name in each.index] for each in members]
        wanted = combine_probabilities(
            known[1], [(genres, p.to_numpy(np.float64)) for genres, p in zip(known, members, strict=True)]
        )
        np.testing.assert_allclose(row["probabilities"], wanted, rtol=1e-5, atol=1e-7)
        assert row["confidence"] == pytest.approx(wanted.max(), rel=1e-5)
    assert labels["is_music"].tolist() == pytest.approx(default["is_music"].tolist(), nan_ok=True)
    assert labels["n_segments"].tolist() == [4, 4, 2, 4]  # by 30 s and by 10 s; two of the silence of 12 s

    ours = label(music, "default+gtzan")
    np.testing.assert_array_equal(ours.filter(like="p_"), np.stack(labels["probabilities"].tolist()))
    for column in ("confidence", "is_music"):
        np.testing.assert_array_equal(ours[column], labels[column])
    for column in ("genre", "style"):
        assert ours[column].fillna("none").tolist() == labels[column].fillna("none").tolist()

    opened = tables_at(str(tables))
    assert verify(opened, read_reports(opened), deep=True).sound
    shutil.rmtree(tables / "labels")
    shutil.rmtree(tables / "_index", ignore_errors=True)
    run("label", None, tables, "default+gtzan")
    renewed = ["labeled_at", "run", "run_date"]
    pd.testing.assert_frame_equal(read_labels(tables).drop(columns=renewed), labels.drop(columns=renewed))

    said: list[str] = []
    evaluate_what_is_labeled(music, tables, labels, said)
    assert "left out because they have no sound: 1 of 4 tracks" in said
    trained_on = import_tables(str(tables), label_column="folder", log_mel=True)
    assert trained_on.log_mel is not None
    assert trained_on.log_mel.shape == (3, 128, 388)  # the log-mels of one of the models, without silence


def evaluate_what_is_labeled(music: Path, tables: Path, labels: pd.DataFrame, said: list[str]) -> None:
    """An evaluation measures the most probable genres, even of what `default` hears no music in, but counts
    only genres that are given as kept, and tells polka from what the models know."""
    request = Request(str(music), model="gtzan+default", tables=str(tables))
    found = evaluate_job(request, say=said.append)
    assert (found.model, found.n_tracks, found.protocol) == ("default-gtzan-41f06b1e", 2, "as given")
    right = [
        labels.loc[str(music / name)]["top3"][0]["genre"] == name.split("/")[0]
        for name in ("classical/a.wav", "country/b.flac")
    ]
    assert found.accuracy == np.mean(right)
    assert found.outside is not None
    assert (found.outside.source, found.outside.n) == ("polka of music", 1)
    genre_of = labels["genre"].dropna().to_dict()
    given = [str(music / name) in genre_of for name in ("classical/a.wav", "country/b.flac")]
    assert found.coverage[0].coverage == np.mean(given)
    polka = str(music / "polka/c.mp3")
    accepted = labels.loc[polka]["confidence"] if polka in genre_of else 0
    assert found.outside.mean_confidence == pytest.approx(accepted, rel=1e-5)
    assert found.seen is not None
    assert (found.seen.known, found.seen.trained_on) == (True, 0)
