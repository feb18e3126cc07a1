"""`earmark run --model default+small` beside each of its models alone."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import earmark
from jobs.run.request import Command, make_job
from jobs.run.run import run_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.combination import combine_probabilities
from pipeline.tables.format_version import tables_at
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.training.data.labeled_tables import import_tables
from schemas.config import RunConfig
from schemas.errors import MisuseError

pytestmark = pytest.mark.usefixtures("on_running_ray")


def run(command: Command, music: Path | None, tables: Path, model: str) -> None:
    """Run a command to its end."""
    catalog = None if music is None else str(music)
    report = run_job(make_job(command, catalog, str(tables), RunConfig(model=model)), lambda sentence: None)
    assert (report.outcome, report.counts.labeled) == ("done", 3)


def read_labels(tables: Path) -> pd.DataFrame:
    """The current labels of the ensemble."""
    found: pd.DataFrame = earmark.open_tables(tables).labels().to_pandas().set_index("uri").sort_index()
    return found


def test_a_run_combines_what_its_models_say_alone(tmp_path: Path) -> None:
    """The labels would not be those of the two models, or others from stored features or in a notebook."""
    music, tables = tmp_path / "music", tmp_path / "tables"
    write_demo_catalog(music, n_tracks=3, duration_s=34)
    run("run", music, tables, "default+small")
    labels = read_labels(tables)
    assert set(labels["model"]) == {"default-small-9d298130"}

    models = {name: earmark.load_model(name) for name in ("default", "small")}
    alone = {name: model.label(music).dropna(subset="confidence") for name, model in models.items()}
    alone = {name: each.set_index("uri").sort_index() for name, each in alone.items()}
    for uri, row in labels.iterrows():
        members = [
            (models[name].genres, each.loc[uri].filter(like="p_").to_numpy(np.float64))
            for name, each in alone.items()
        ]
        wanted = combine_probabilities(models["small"].genres, members)
        np.testing.assert_allclose(row["probabilities"], wanted, rtol=1e-5, atol=1e-7)
        assert row["confidence"] == pytest.approx(wanted.max(), rel=1e-5)
    assert labels["is_music"].tolist() == alone["small"]["is_music"].tolist()
    assert labels["n_segments"].tolist() == [4] * 3  # one of 30 s, and three of 10 s

    ours = earmark.label(music, "small+default").dropna(subset="confidence").set_index("uri").sort_index()
    np.testing.assert_array_equal(ours.filter(like="p_"), np.stack(labels["probabilities"].tolist()))
    for column in ("genre", "confidence", "style", "is_music"):
        assert ours[column].fillna("none").tolist() == labels[column].fillna("none").tolist()

    opened = tables_at(str(tables))
    assert verify(opened, read_reports(opened), deep=True).sound
    shutil.rmtree(tables / "labels")
    shutil.rmtree(tables / "_index", ignore_errors=True)
    run("label", None, tables, "small+default")
    renewed = ["labeled_at", "run", "run_date"]
    pd.testing.assert_frame_equal(read_labels(tables).drop(columns=renewed), labels.drop(columns=renewed))
    with pytest.raises(MisuseError, match="have no log-mels"):  # of one kind, to train with
        import_tables(str(tables), label_column="folder", log_mel=True)
