"""Ensembles: what several models say becomes one label, and their features are stored together."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import ValidationError

import earmark
from jobs.evaluation.evaluate import evaluate_job
from jobs.evaluation.evaluate_ensemble import _count_seen, _Labeled, _measure
from jobs.evaluation.request import Request
from jobs.run.request import make_job
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.catalogs.catalog import list_catalog
from pipeline.evaluation.evaluation import Predictions
from pipeline.models.bundle import ModelBundle
from pipeline.models.combination import MemberPrediction, combine_probabilities, label_members
from pipeline.models.ensemble import Ensemble, load_bundle
from pipeline.models.label import label_prediction
from pipeline.models.prediction import Prediction
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.limits import TrackLimits
from pipeline.shards.one_track import track_features
from pipeline.shards.rows import feature_rows
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.tables.tables import Tables
from pipeline.training.provenance import hash_name
from schemas.config import RunConfig
from schemas.errors import LabelError, MisuseError
from schemas.features import FeatureSpec
from schemas.tables import features_schema

ALL = ("blues", "disco", "electronic", "jazz", "rock")
SOME = ("rock", "blues", "jazz")
RATE = 22050

positive = st.floats(1e-3, 1.0)
of_all = arrays.arrays(np.float64, len(ALL), elements=positive).map(lambda p: p / p.sum())
of_some = arrays.arrays(np.float64, len(SOME), elements=positive).map(lambda p: p / p.sum())
PLACES = [ALL.index(genre) for genre in SOME]


@pytest.fixture(scope="module")
def both() -> Ensemble:
    """The two shipped models."""
    found = load_bundle("gtzan+default")
    assert isinstance(found, Ensemble)
    return found


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes for longer than a segment of either model."""
    t = np.arange(41 * RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 0.005, t.size)
    y = 0.3 * np.sin(2 * np.pi * 220 * t) * np.exp(-6 * (t % 0.5)) + noise
    file = tmp_path_factory.mktemp("music") / "song.wav"
    soundfile.write(file, y, RATE)
    return file


@settings(max_examples=60, deadline=None)
@given(of_all, of_all)
def test_models_of_equal_genres_give_their_geometric_mean(one: NDArray[Any], other: NDArray[Any]) -> None:
    """The figures of an ensemble would be those of another formula."""
    found = combine_probabilities(ALL, [(ALL, one), (ALL, other)])
    plain = np.sqrt(one * other)
    np.testing.assert_allclose(found, plain / plain.sum(), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(of_all, of_all, of_some, st.permutations(range(3)))
def test_a_model_of_few_genres_only_divides_what_they_have(
    one: NDArray[Any], other: NDArray[Any], few: NDArray[Any], order: list[int]
) -> None:
    """`gtzan` has never heard electronic music: it would take such a track away from it."""
    members = [(ALL, one), (ALL, other), (SOME, few)]
    found = combine_probabilities(ALL, [members[place] for place in order])
    wide = combine_probabilities(ALL, members[:2])
    assert found.sum() == pytest.approx(1)
    outside = [place for place in range(len(ALL)) if place not in PLACES]
    np.testing.assert_allclose(found[outside], wide[outside], rtol=1e-9)
    inside = np.cbrt(one[PLACES] * other[PLACES] * few)
    np.testing.assert_allclose(found[PLACES] / found[PLACES].sum(), inside / inside.sum(), rtol=1e-9)


def test_no_model_rules_a_genre_out_alone() -> None:
    """One model's zero would overrule all the others, and two zeros would leave no genre at all."""
    found = combine_probabilities(ALL, [(ALL, np.eye(5)[0]), (ALL, np.eye(5)[1])])
    assert found[:2] == pytest.approx([0.5, 0.5], abs=1e-2)
    assert (found > 0).all()


def test_probabilities_that_are_not_numbers_are_the_tracks_failure(both: Ensemble) -> None:
    """A track with broken features would get a label from the other model, and nobody would know."""
    members = predictions(both, silent={})
    members[0].segments.proba[0, 3] = np.nan
    with pytest.raises(LabelError, match="not finite"):
        label_members("x", members, both.info)


def predictions(both: Ensemble, silent: dict[str, list[bool]]) -> list[MemberPrediction]:
    """Random predictions of both models for two segments."""
    rng = np.random.default_rng(3)
    members = []
    for name, member in both.members.items():
        proba = rng.dirichlet(np.ones(len(member.info.genres)), 2)
        found = Prediction(proba)
        if member.info.taxonomy is not None:
            labels = rng.uniform(size=(2, len(member.info.taxonomy.classes)))
            found = Prediction(proba, rng.uniform(0.6, 1, 2), labels)
        members.append(MemberPrediction(member.info, found, silent.get(name, [False] * 2)))
    return members


def test_what_only_one_model_says_is_kept(both: Ensemble) -> None:
    """Joined with `gtzan`, `default` would lose its styles and its word on whether it is music."""
    members = predictions(both, {"default": [False, True]})
    ours = members[0]
    alone = label_prediction("x", ours.segments, ours.silent, ours.info)
    label = label_members("x", members, both.info)
    assert alone.labels
    assert (label.is_music, label.labels) == (alone.is_music, alone.labels)
    assert label.genre in both.info.genres
    assert label_members("x", members, both.info, min_confidence=0.99).genre is None


def test_silence_is_no_opinion(both: Ensemble) -> None:
    """Silent segments of one model would flatten what the other finds; a silent track would get a genre."""
    members = predictions(both, {"gtzan": [True, True]})
    alone = label_prediction("x", members[0].segments, [False] * 2, members[0].info)
    label = label_members("x", members, both.info)
    assert label.genre == alone.genre
    np.testing.assert_allclose(label.probabilities, alone.probabilities, rtol=1e-9)
    nothing = label_members("x", predictions(both, dict.fromkeys(both.members, [True] * 2)), both.info)
    assert (nothing.genre, nothing.is_music, nothing.labels) == (None, None, ())
    np.testing.assert_allclose(nothing.probabilities, 1 / 19)


def test_the_name_does_not_depend_on_the_order(both: Ensemble) -> None:
    """The same models in another order, or after an upgrade, would label the whole catalog again."""
    assert both.model == load_bundle("default+gtzan").model == "default-gtzan-41f06b1e"
    assert both.info.features.feature_set == "93458f54ea"


def test_ids_of_single_models_stay(both: Ensemble) -> None:
    """The features and labels that there are would be made again."""
    specs = both.info.features.specs
    assert [spec.feature_set for spec in specs] == ["24ea1669f0", "7fa0f6f337"]
    assert [both.info.features.place_of(spec) for spec in specs] == [0, 1]
    assert specs[0].place_of(specs[0]) is None
    assert "also" not in specs[0].model_dump()
    assert FeatureSpec.join([specs[1], specs[0], specs[1]]) == both.info.features
    assert FeatureSpec.join([specs[1], specs[1]]) == specs[1]
    assert FeatureSpec.model_validate_json(both.info.features.model_dump_json()) == both.info.features
    with pytest.raises(ValidationError, match="further specs of its own"):
        FeatureSpec(also=(both.info.features,))


def test_a_kept_ensemble_is_read_again(both: Ensemble, tmp_path: Path) -> None:
    """Actors load the copy beside the tables: they would write labels of another model, or none."""
    for name, data in both.files.items():
        (tmp_path / name).write_bytes(data)
    read = load_bundle(str(tmp_path))
    assert read.model == both.model
    assert read.info == both.info
    with pytest.raises(MisuseError, match=r"'default-gtzan' is an ensemble.*\(default, gtzan\)"):
        ModelBundle.load(str(tmp_path))
    (tmp_path / "default.keras").write_bytes(both.members["gtzan"].weights)
    with pytest.raises(MisuseError, match=r"default\.keras takes arrays of shape"):
        load_bundle(str(tmp_path))
    (tmp_path / "model.json").write_bytes(
        both.files["model.json"].replace(b'"default": {', b'"../default": {')
    )
    with pytest.raises(MisuseError, match=r"model\.json is not valid: members\.\.\./default"):
        load_bundle(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("default+", "there is no model '' for the ensemble 'default\\+'"),
        ("default+yamnet", "'yamnet' for the ensemble .*; choose from audioset, default, gtzan"),
        ("default+gtzan+default", "names a model twice"),
        ("default+audioset", "earmark models add audioset"),
        ("nowhere/a+b", "no model.json in nowhere/a\\+b"),
    ],
)
def test_names_that_are_wrong_are_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error would end in a traceback, or label with fewer models than somebody thinks."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(MisuseError, match=message):
        load_bundle(name)


def test_models_are_found_by_their_names_in_the_tables(both: Ensemble) -> None:
    """What stands in the column ``model`` cannot be loaded in a notebook, or labels as another model."""
    for model in (both.model, *(member.model for member in both.members.values())):
        assert load_bundle(model).model == model
    assert ModelBundle.load("gtzan-cnn-304cb835").model == "gtzan-cnn-304cb835"
    with pytest.raises(MisuseError, match=r"tables that it labeled have it in _models/gtzan-cnn-00000000"):
        load_bundle("gtzan-cnn-00000000")
    with pytest.raises(MisuseError, match=rf"default\+gtzan is {both.model} here; tables that"):
        load_bundle("default-gtzan-00000000")
    with pytest.raises(MisuseError, match=f"'{both.model}' is an ensemble, which labels whole tracks"):
        ModelBundle.load(both.model)


def test_a_folder_with_a_plus_is_a_folder(
    both: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that somebody trained into such a folder could no longer be loaded."""
    monkeypatch.chdir(tmp_path)
    both.members["gtzan"].save("mine+yours")
    assert load_bundle("mine+yours").model == ModelBundle.load("mine+yours").model == "gtzan-cnn-304cb835"


def test_models_that_do_not_go_together_are_refused(both: Ensemble) -> None:
    """Some genres would have no probability, or styles those of others."""
    gtzan, default = both.members["gtzan"], both.members["default"]
    other = gtzan.info.model_copy(update={"genres": (*gtzan.info.genres[1:], "ska")})
    with pytest.raises(MisuseError, match="none of the models a, b knows the genres of all"):
        _ = Ensemble({"a": gtzan, "b": ModelBundle(other, gtzan.weights)}).info
    assert default.info.taxonomy is not None
    fewer = default.info.taxonomy.model_copy(update={"classes": default.info.taxonomy.classes[::-1]})
    changed = default.info.model_copy(update={"taxonomy": fewer})
    with pytest.raises(MisuseError, match="the models a and b name different styles"):
        _ = Ensemble({"a": default, "b": ModelBundle(changed, default.weights)}).info


def test_an_ensemble_has_the_very_segments_of_its_models(both: Ensemble, song: Path, tmp_path: Path) -> None:
    """Its labels would not be what the figures of its models promise."""
    spec = both.info.features
    found = track_features(song, spec)
    for place, alone in enumerate(track_features(song, one) for one in spec.specs):
        own = [segment for segment in found.segments if segment.spec == place]
        assert [(s.start_s, s.duration_s, s.range_db) for s in own] == [
            (s.start_s, s.duration_s, s.range_db) for s in alone.segments
        ]
        for segment, same in zip(own, alone.segments, strict=True):
            np.testing.assert_array_equal(segment.log_mel, same.log_mel)
        assert (alone.info, alone.tags) == (found.info, found.tags)
    assert [segment.spec for segment in found.segments] == [0, 1, 1, 1]


def featurized(song: Path, spec: FeatureSpec, folder: Path) -> str:
    """The location of a features part of the song."""
    listing = list_catalog(str(song.parent))
    listing = listing.append_column("attempts", pa.array([0], pa.int32()))
    tables = Tables(str(folder))
    shard = Shard("a", "20260101-000000-test", spec.feature_set, listing, datetime.now(UTC))
    limits = TrackLimits.of(RunConfig())
    assert featurize_shard(shard, tables, spec, lambda: None, limits=limits).n_failed == 0
    return shard.parts(tables)["features"]


def test_only_parts_of_ensembles_say_the_spec(both: Ensemble, song: Path, tmp_path: Path) -> None:
    """Parts of single models would change, and those of a night could not be merged with earlier ones."""
    rows = pq.read_table(featurized(song, both.info.features, tmp_path / "a"), partitioning=None)
    assert rows["segment"].to_pylist() == [0, 1, 2, 3]
    assert rows["spec"].to_pylist() == [0, 1, 1, 1]
    assert rows.schema.names == features_schema(DESCRIPTOR_NAMES).names
    alone = pq.read_table(featurized(song, FeatureSpec(), tmp_path / "b"), partitioning=None)
    assert alone.schema.names == [name for name in rows.schema.names if name != "spec"]
    assert feature_rows([], FeatureSpec()).schema.names == alone.schema.names


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ({"embeddings": True}, "--embeddings"),
        ({"segment_labels": True}, "--segment-labels"),
        ({"descriptors": True}, "--descriptors"),
    ],
)
def test_what_an_ensemble_cannot_do_is_refused(setting: dict[str, bool], option: str, tmp_path: Path) -> None:
    """After a night of decoding there would be no embeddings, or those of only one model."""
    config = RunConfig(model="gtzan+default", **setting)
    with pytest.raises(
        MisuseError, match=f"{option} needs a single model, but 'gtzan\\+default' is an ensemble"
    ):
        make_job("run", str(tmp_path), str(tmp_path / "tables"), config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "track"}, "--split needs a single model, but 'gtzan\\+default' is an ensemble"),
        ({"n_pieces": 3}, "--pieces needs a single model"),
        ({"outside": "speech"}, "--outside needs a single model"),
        ({"data": "shelves.npz"}, "evaluated on audio, which shelves.npz is not; give a folder of audio"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, Any], message: str) -> None:
    """Figures would be those of one of its models, or of nothing."""
    request = Request(**{"data": "music", "model": "gtzan+default"} | options)
    with pytest.raises(MisuseError, match=message):
        evaluate_job(request)


def test_what_one_of_the_models_has_seen_counts(both: Ensemble) -> None:
    """A figure would be called honest although one of the models was trained on the music."""
    hashes = str(both.members["gtzan"].info.training["trained_on"]).split()
    predictions = Predictions(np.ones((2, 19)), np.zeros(2, np.intp), np.array(["a/x", "b/y"]))
    assert _count_seen(both, predictions).trained_on == 0
    assert hash_name("a/x") not in hashes
    seen = both.members["default"].info.model_copy(
        update={"training": {"trained_on": hash_name("a/x"), "calibrated_on": hash_name("b/y")}}
    )
    ours = ModelBundle(seen, both.members["default"].weights)
    found = _count_seen(Ensemble({"gtzan": both.members["gtzan"], "default": ours}), predictions)
    assert (found.known, found.trained_on, found.calibrated_on) == (True, 1, 1)
    unknown = ModelBundle(seen.model_copy(update={"training": {}}), ours.weights)
    assert not _count_seen(Ensemble({**both.members, "default": unknown}), predictions).known


def test_what_an_ensemble_hears_as_no_music_is_not_accepted(both: Ensemble) -> None:
    """A folder speech/ beside the genres makes an ensemble look as if it labeled all speech."""
    genres = both.info.genres
    labeled = _Labeled(
        np.full((5, len(genres)), 1 / len(genres)),
        np.array([0.1, 0.9, 0.2, 0.8, np.nan]),
        [genres[0], genres[0], "speech", "speech", "speech"],
        np.array(["k/a", "k/b", "s/a", "s/b", "s/c"]),
    )
    found = _measure("music", both, labeled, 0)
    assert found.outside is not None
    assert (found.outside.n, found.outside.not_music, found.outside.source) == (3, 1, "speech of music")
    assert found.coverage[0].outside_accepted == pytest.approx(2 / 3)
    assert found.coverage[0].coverage == 1 / 2


def test_a_model_in_a_notebook_says_what_it_cannot_do() -> None:
    """Segments of one kind would go into the network of the other."""
    model = earmark.load_model("gtzan+default")
    assert model.name == "default-gtzan-41f06b1e"
    with pytest.raises(MisuseError, match=r"is an ensemble, .*\(default, gtzan\)"):
        model.predict([np.zeros((128, 388), np.uint8)])
    with pytest.raises(MisuseError, match="name one of its models"):
        ModelBundle.load("gtzan+default")
