"""Calibrates the model ``audioset`` and measures it: ``python -m infra.audioset_calibration WEIGHTS GTZAN``.

WEIGHTS is the published file ``mn04_as_mAP_432.pt``; GTZAN is a folder with ``audio*/`` and ``splits/``. It
needs espeak-ng. Fitted to are clips of the train list, those without audio by their published log-mels, and
synthesized speech and noise; measured are clips of the valid list, and speech of other voices, languages and
texts, which choose nothing.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.optimize import minimize

from infra.audioset_imitation import imitations
from pipeline.audio.features.featurize import featurize_track
from pipeline.models import metrics
from pipeline.models.audioset import FEATURES, N_FRAMES, build_network, check_outputs
from pipeline.models.classifier import fit_frames
from pipeline.models.mobilenet import EMBEDDING, Head
from pipeline.models.prediction import genre_scores, logistic, read_outputs, softmax
from pipeline.models.torch_file import read_weights
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy

OUT = Path(__file__).parent.parent / "pipeline" / "models"
SHRINKAGE, HEAD_SHRINKAGE = 0.01, 0.0005
"""Weights of squared biases and of the head's squared weights.

Chosen on train clips: by the accuracy on clips whose neighbors were left out, and on clips of a genre of
which no audio was fitted to at all.
"""
FOLDS = 5

Floats = NDArray[np.float64]

FITTED_SPEECH = {
    "en-us": "The committee will meet on Thursday about the budget and the repairs of the old bridge.",
    "de": "Die Sitzung beginnt morgen um neun Uhr, und danach gibt es eine kurze Pause mit Kaffee.",
    "fr-fr": "Le train de huit heures est en retard à cause de la neige, veuillez attendre sur le quai.",
    "es": "Mañana lloverá en el norte del país, y por la tarde habrá viento fuerte en la costa.",
    "pl": "Dzisiaj w bibliotece odbędzie się spotkanie z autorem nowej powieści, zapraszamy czytelników.",
    "sv": "Vädret blir klart i morgon med svag vind från väster och temperaturer omkring tjugo grader.",
}
FITTED_VOICES = ("m1", "m3", "m5", "f1", "f3", "whisper")
MEASURED_SPEECH = {
    "en-gb": "Chapter three. In the morning the captain wrote a letter to his brother about the storm.",
    "it": "La ricetta è semplice: tagliate le cipolle, scaldate la padella e aspettate dieci minuti.",
    "pt-br": "O museu abre todos os dias das dez às seis, e a entrada é gratuita no primeiro domingo.",
    "ru": "Сегодня на выставке можно увидеть картины молодых художников из разных городов страны.",
    "nl": "De vergadering is verplaatst naar volgende week omdat de zaal morgen niet beschikbaar is.",
    "tr": "Yarın sabah erkenden yola çıkacağız ve akşam olmadan önce köye varmış olacağız.",
}
MEASURED_VOICES = ("m2", "m4", "m7", "f2", "f4", "croak")


@dataclass(frozen=True)
class Clips:
    """What there is of segments, which clip each is of, and each clip's name and genre (-1: none)."""

    logits: Floats
    embeddings: Floats
    log_mels: list[NDArray[np.uint8]]
    clip: NDArray[np.intp]
    tracks: list[str]
    genre: NDArray[np.intp]

    def of(self, clips: NDArray[np.intp]) -> "Clips":
        """Return some of the clips, given by ascending numbers."""
        rows = np.flatnonzero(np.isin(self.clip, clips))
        return Clips(
            self.logits[rows],
            self.embeddings[rows],
            [self.log_mels[row] for row in rows],
            np.searchsorted(clips, self.clip[rows]),
            [self.tracks[clip] for clip in clips],
            self.genre[clips],
        )

    def with_head(self, head: Head) -> "Clips":
        """Return the same clips with the head's outputs behind the logits."""
        outputs = self.embeddings @ head.weights + head.bias
        return replace(self, logits=np.concatenate([self.logits, outputs], axis=1))

    def by_track(self) -> dict[str, list[NDArray[np.uint8]]]:
        """Return the log-mels of each clip's segments."""
        return {
            track: [self.log_mels[row] for row in np.flatnonzero(self.clip == number)]
            for number, track in enumerate(self.tracks)
        }

    def mean(self, values: Floats) -> Floats:
        """Return the mean over each clip's segments."""
        summed = np.zeros((len(self.genre), values.shape[1]))
        np.add.at(summed, self.clip, values)
        return summed / np.bincount(self.clip)[:, np.newaxis]


def main(weights: Path, gtzan: Path) -> None:
    """Fit, measure, and write ``audioset_calibration.json`` and ``audioset_head.npz``."""
    weights_of = read_weights(weights.read_bytes())
    network = build_network(weights_of)
    classes = json.loads((OUT / "audioset_classes.json").read_text())
    genres = tuple(sorted({each["genre"] for each in classes["classes"]}))
    info = ModelInfo(
        name="audioset", genres=genres, features=FEATURES, n_frames=N_FRAMES, temperature=1.0,
        taxonomy={**classes, "is_music": {"intercept": 0, "music": 1, "speech": 0}},
    )  # fmt: skip
    train, valid = (clips_of(gtzan, network, genres, name) for name in ("train", "valid"))
    fitted_to = outside(network, [*speech(FITTED_SPEECH, FITTED_VOICES, seed=1), *noises(seed=1)])
    imitated = imitate(info, gtzan, network, train)
    info, head = fit_genres(info, train, imitated)
    train, valid, fitted_to = (each.with_head(head) for each in (train, valid, fitted_to))
    info = fit_music(fit_labels(info, train), train, fitted_to)
    report(info, "train clips, fitted to", train)
    measured = outside(network, speech(MEASURED_SPEECH, MEASURED_VOICES, seed=2)).with_head(head)
    noise = outside(network, noises(seed=2)).with_head(head)
    written: dict[str, Any] = {
        "temperature": info.temperature,
        "taxonomy": _taxonomy(info).model_dump(
            include={"n_outputs", "biases", "adjustment", "slope", "offset", "threshold", "is_music"}
        ),
        "figures": report(info, "valid clips", valid),
        "counts": [
            got_genre(info, "clips of synthesized speech that get a genre", measured),
            got_genre(info, "clips of noise that get a genre", noise),
            got_genre(info, "clips of music that get a genre", valid),
        ],
        "training": {
            "weights": "mn04_as of EfficientAT, trained on AudioSet by Schmid, Koutini and Widmer (2023)",
            "calibrated_on": f"{len(train.genre)} train clips of GTZAN's fault-filtered split with audio, "
            f"and log-mels of all {len(imitated.genre)}",
            "command": "python -m infra.audioset_calibration WEIGHTS GTZAN",
        },
        "check": check_outputs(build_network(weights_of, head)),
    }
    np.savez(OUT / "audioset_head.npz", weights=head.weights, bias=head.bias)
    (OUT / "audioset_calibration.json").write_text(json.dumps(written, indent=2) + "\n")


def clips_of(gtzan: Path, network: Any, genres: tuple[str, ...], name: str) -> Clips:
    """Return the clips of a list of the split that have audio."""
    files = listed_files(gtzan, name)
    numbers = [genres.index(track.partition(".")[0]) for track in files]
    sounds = (file.read_bytes() for file in files.values())
    return _clips(network, list(files), sounds, np.array(numbers, np.intp))


def listed_files(gtzan: Path, name: str) -> dict[str, Path]:
    """Return the audio of a list of the split, by clip, in their order."""
    files = {path.stem: path for path in gtzan.glob("audio_vorbis/*.ogg")}
    files |= {path.stem: path for path in gtzan.glob("audio_trimmed/*/*.flac")}
    files |= {path.stem: path for path in gtzan.glob("audio/*/*.flac")}
    listed = {Path(line).stem for line in (gtzan / "splits" / f"{name}_filtered.txt").read_text().split()}
    return {track: files[track] for track in sorted(set(files) & listed)}


def outside(network: Any, sounds: Iterable[bytes]) -> Clips:
    """Return clips of no genre."""
    found = list(sounds)
    names = [f"sound {number}" for number in range(len(found))]
    return _clips(network, names, found, np.full(len(found), -1, np.intp))


def _clips(network: Any, tracks: list[str], files: Iterable[bytes], genre: NDArray[np.intp]) -> Clips:
    found = []
    for track, data in zip(tracks, files, strict=True):
        segments = featurize_track(io.BytesIO(data), track, FEATURES).segments
        found.append([segment.log_mel for segment in segments if segment.log_mel is not None])
    return _answers(network, tracks, genre, found)


def _answers(
    network: Any, tracks: list[str], genre: NDArray[np.intp], segments: list[list[NDArray[np.uint8]]]
) -> Clips:
    log_mels = [fit_frames(each, N_FRAMES) for of_clip in segments for each in of_clip]
    batches = [np.stack(log_mels[i : i + 8])[..., np.newaxis] for i in range(0, len(log_mels), 8)]
    import keras

    both = keras.Model(network.inputs[0], [network.output, network.get_layer(EMBEDDING).output])
    answers = [both.predict_on_batch(batch.astype(np.float32)) for batch in batches]
    logits, embeddings = (np.concatenate(each).astype(np.float64) for each in zip(*answers, strict=True))
    clip = np.repeat(np.arange(len(tracks)), [len(of_clip) for of_clip in segments])
    print(f"{len(tracks)} clips, {len(log_mels)} segments")
    return Clips(logits, embeddings, log_mels, clip, tracks, genre)


def speech(texts: dict[str, str], voices: tuple[str, ...], seed: int) -> list[bytes]:
    """Return spoken texts, a few words or several sentences long, at different speeds and pitches."""
    rng = np.random.default_rng(seed)
    spoken = []
    for language, text in texts.items():
        for voice in voices:
            words = [text, f"{text} " * 4, " ".join(text.split()[:6])][int(rng.integers(3))]
            speed, pitch = (str(each) for each in rng.integers([120, 30], [190, 70]))
            command = ["espeak-ng", "-v", f"{language}+{voice}", "-s", speed, "-p", pitch, "--stdout", words]
            made = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - all words are ours
            spoken.append(made.stdout)
    return spoken


def noises(seed: int) -> list[bytes]:
    """Return noises of several colors, steady and coming and going, hums, beeps and clicks, of 10 s each."""
    rng = np.random.default_rng(seed)
    t = np.arange(320000) / 32000
    sounds = []
    for slope in (0.0, 0.5, 1.0, 1.5):
        spectrum = np.fft.rfft(rng.normal(size=len(t)))
        y = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 30.0) ** slope, len(t))
        sways = 1 + np.sin(2 * np.pi * rng.uniform(0.1, 3) * t)
        sounds += [y, y * sways, y * (np.sin(2 * np.pi * rng.uniform(1, 6) * t) > 0)]
    hz = rng.uniform(50, 2000, 4)
    sounds += [sum(np.sin(2 * np.pi * each * k * t) / k for k in (1, 2, 3)) for each in hz]
    sounds += [np.sin(2 * np.pi * each * t) * (t % 1 < 0.2) for each in hz]
    sounds += [(rng.random(len(t)) < rate).astype(float) for rate in (1e-4, 1e-3)]
    return [_wav(y / np.abs(y).max() * rng.uniform(0.1, 0.9)) for y in sounds]


def _wav(y: Floats) -> bytes:
    file = io.BytesIO()
    sf.write(file, y, 32000, format="WAV")
    return file.getvalue()


def fit_genres(info: ModelInfo, train: Clips, imitated: Clips) -> tuple[ModelInfo, Head]:
    """Fit biases and head to all clips, and the temperature to real clips that were left out of the fit."""
    folds = _by_artist(train)
    held_out = []
    for fold in range(FOLDS):
        out = train.of(np.flatnonzero(folds == fold))
        # Their imitations are left out too.
        others = np.array([n for n, track in enumerate(imitated.tracks) if track not in out.tracks], np.intp)
        held_out.append((fit_scores(info, train.of(np.flatnonzero(folds != fold)), imitated.of(others)), out))

    def loss(x: Floats) -> float:
        at = [(replace(fit, temperature=float(np.exp(x[0]))), clips) for fit, clips in held_out]
        return sum(float(_losses(fit.proba(clips, info), clips).sum()) for fit, clips in at)

    temperature = float(np.exp(minimize(loss, [0.0], method="Nelder-Mead").x[0]))
    right = np.concatenate([fit.proba(clips, info).argmax(axis=1) == clips.genre for fit, clips in held_out])
    print(
        f"train clips, each by a fit without its neighbors: {right.mean():.3f}; temperature {temperature:.3f}"
    )
    fit = fit_scores(info, train, imitated)
    adjusted = _with(
        info,
        n_outputs=_taxonomy(info).n_outputs + 10,
        biases={name: round(float(bias), 3) for name, bias in zip(GTZAN_GENRES, fit.biases, strict=True)},
        adjustment={"first": _taxonomy(info).n_outputs, "genres": GTZAN_GENRES},
    )
    head = Head(fit.weights.astype(np.float32), fit.bias.astype(np.float32))
    return adjusted.model_copy(update={"temperature": round(temperature, 4)}), head


def _by_artist(clips: Clips) -> NDArray[np.intp]:
    """Return folds of consecutive clips of each genre: GTZAN's artists stand one after the other."""
    folds = np.zeros(len(clips.genre), np.intp)
    for genre in np.unique(clips.genre):
        rows = np.flatnonzero(clips.genre == genre)
        folds[rows] = np.arange(len(rows)) * min(FOLDS, len(rows)) // len(rows)
    return folds


@dataclass(frozen=True)
class Fit:
    """Temperature, biases and the head's weights and bias, fitted to clips."""

    temperature: float
    biases: Floats
    weights: Floats
    bias: Floats

    def proba(self, clips: Clips, info: ModelInfo) -> Floats:
        """Return the mean probabilities of each clip."""
        scores = raw_scores(info, clips.logits)
        ten = [info.genres.index(each) for each in GTZAN_GENRES]
        scores[:, ten] += self.biases + clips.embeddings @ self.weights + self.bias
        return clips.mean(softmax(scores / self.temperature))


def fit_scores(info: ModelInfo, real: Clips, imitated: Clips) -> Fit:
    """Fit biases of GTZAN's genres and a head over embeddings; rare genres weigh more than their share."""
    z = [clips.mean(raw_scores(info, clips.logits)) for clips in (real, imitated)]
    embeddings = [clips.mean(clips.embeddings) for clips in (real, imitated)]
    shared = [
        (imitated.tracks.index(track), row)
        for row, track in enumerate(real.tracks)
        if track in imitated.tracks
    ]
    here, there = (np.array(each, np.intp) for each in zip(*shared, strict=True))
    weights = np.bincount(real.genre[there])[real.genre[there]] ** -0.5
    weights /= weights.sum()
    # Imitations differ from what they imitate by a shift and a slope.
    near_z, near_x = z[1][here], embeddings[1][here]
    slope = _slope(near_z, z[0][there], weights)
    z[1] = (z[1] - weights @ near_z) * slope + weights @ z[0][there]
    means, spreads = zip(*(_moments(each, weights) for each in (embeddings[0][there], near_x)), strict=True)
    x = [(each - mean) / spread for each, mean, spread in zip(embeddings, means, spreads, strict=True)]
    without = np.setdiff1d(np.arange(len(imitated.tracks)), here)
    genre = np.concatenate([real.genre, imitated.genre[without]])
    scale = np.sqrt(x[0].shape[1])
    found = _fit(
        info, np.concatenate([z[0], z[1][without]]), np.concatenate([x[0], x[1][without]]) / scale, genre
    )
    sharpness, biases, head = np.exp(found[0]), found[1:11], found[11:].reshape(-1, 10)
    head = head / scale / spreads[0][:, np.newaxis] / sharpness
    return Fit(float(1 / sharpness), biases, head, -means[0] @ head)


def _fit(info: ModelInfo, z: Floats, x: Floats, genre: NDArray[np.intp]) -> Floats:
    ten = [info.genres.index(each) for each in GTZAN_GENRES]
    weights = np.bincount(genre)[genre] ** -0.5
    weights /= weights.sum()
    true = np.eye(len(info.genres))[genre]

    def loss(w: Floats) -> tuple[float, Floats]:
        sharpness, biases, head = np.exp(w[0]), np.zeros(len(info.genres)), w[11:].reshape(-1, 10)
        biases[ten] = w[1:11]
        scores = sharpness * (z + biases)
        scores[:, ten] += x @ head
        p = softmax(scores)
        value = -weights @ np.log(p[true > 0] + 1e-12)
        slope = (p - true) * weights[:, np.newaxis]
        of_biases = sharpness * slope[:, ten].sum(axis=0) + 2 * SHRINKAGE * w[1:11]
        of_head = x.T @ slope[:, ten] + 2 * HEAD_SHRINKAGE * head
        shrinkage = SHRINKAGE * (w[1:11] ** 2).sum() + HEAD_SHRINKAGE * (head**2).sum()
        of_sharpness = [sharpness * (slope * (z + biases)).sum()]
        return float(value + shrinkage), np.concatenate([of_sharpness, of_biases, of_head.ravel()])

    start = np.zeros(11 + 10 * x.shape[1])
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return found


def _slope(x: Floats, y: Floats, weights: Floats) -> float:
    apart_x, apart_y = x - weights @ x, y - weights @ y
    return float((weights @ (apart_x * apart_y)).sum() / (weights @ apart_x**2).sum())


def _moments(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    mean = weights @ x
    return mean, np.sqrt(weights @ (x - mean) ** 2) + 1e-6


def raw_scores(info: ModelInfo, logits: Floats) -> Floats:
    """Return the scores of genres before biases and the head."""
    plain = _with(info, biases={}, adjustment=None)
    return genre_scores(logits, plain, _taxonomy(plain))


def imitate(info: ModelInfo, gtzan: Path, network: Any, train: Clips) -> Clips:
    """Return the clips of the train list, heard through imitations of the network's log-mel."""
    names, genres, segments = imitations(gtzan, train.by_track())
    numbers = np.array([info.genres.index(each) for each in genres], np.intp)
    return _answers(network, names, numbers, segments)


def fit_labels(info: ModelInfo, clips: Clips) -> ModelInfo:
    """Fit slope and offset of the classes that mean a whole genre of GTZAN, all together."""
    classes = _taxonomy(info).classes
    places = [
        place for place, each in enumerate(classes) if each.style is None and each.genre in GTZAN_GENRES
    ]
    truth = np.array([[info.genres.index(classes[p].genre) == g for p in places] for g in clips.genre])

    def loss(x: Floats) -> float:
        model = _with(info, slope=float(np.exp(x[0])), offset=float(x[1]))
        labels = read_outputs(clips.logits, model).labels
        p = np.clip(clips.mean(np.asarray(labels))[:, places], 1e-9, 1 - 1e-9)
        return -float(np.where(truth, np.log(p), np.log1p(-p)).mean())

    slope, offset = minimize(loss, [0.0, 0.0], method="Nelder-Mead").x
    return _with(info, slope=round(float(np.exp(slope)), 4), offset=round(float(offset), 4))


def fit_music(info: ModelInfo, music: Clips, others: Clips) -> ModelInfo:
    """Fit a logistic regression of music against speech and noise, both sides weighing the same."""
    logits = np.concatenate([music.logits, others.logits])
    x = np.stack(
        [logits[:, _taxonomy(info).music], logits[:, list(_taxonomy(info).speech)].max(axis=1)], axis=1
    )
    y = np.repeat([1.0, 0.0], [len(music.logits), len(others.logits)])
    weights = np.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum())

    def loss(w: Floats) -> float:
        p = np.clip(logistic(w[0] + x @ w[1:]), 1e-12, 1 - 1e-12)
        return float(-(weights * np.where(y > 0, np.log(p), np.log1p(-p))).sum() + 0.003 * (w[1:] ** 2).sum())

    intercept, of_music, of_speech = (round(float(each), 4) for each in minimize(loss, np.zeros(3)).x)
    return _with(info, is_music={"intercept": intercept, "music": of_music, "speech": of_speech})


def report(info: ModelInfo, name: str, clips: Clips) -> list[dict[str, Any]]:
    """Print and return accuracies among all genres and among GTZAN's ten."""
    proba = clips.mean(read_outputs(clips.logits, info).proba)
    ten = [info.genres.index(genre) for genre in GTZAN_GENRES]
    among = np.zeros_like(proba)
    among[:, ten] = proba[:, ten] / proba[:, ten].sum(axis=1, keepdims=True)
    figures = []
    for genres, p in ((f"{len(info.genres)} genres", proba), ("GTZAN's ten genres", among)):
        right = p.argmax(axis=1) == clips.genre
        by_genre = {
            info.genres[g]: (int(right[clips.genre == g].sum()), int((clips.genre == g).sum()))
            for g in np.unique(clips.genre)
        }
        figure = {
            "protocol": "file",
            "dataset": f"GTZAN, {name} with audio, among {genres}",
            "accuracy": round(metrics.accuracy(p, clips.genre), 4),
            "ece": round(metrics.expected_calibration_error(p, clips.genre), 4),
            "n": len(clips.genre),
            "by_genre": by_genre,
        }
        mean = np.mean([hits / n for hits, n in by_genre.values()])
        print(f"{figure['dataset']}: {figure['accuracy']}, mean over genres {mean:.3f}, ECE {figure['ece']}")
        figures.append(figure)
    return figures


def got_genre(info: ModelInfo, what: str, clips: Clips) -> dict[str, Any]:
    """Print and return how many clips count as music."""
    is_music = np.asarray(read_outputs(clips.logits, info).is_music)
    count = int((clips.mean(is_music[:, np.newaxis]) >= 0.5).sum())
    print(f"{what}: {count} of {len(clips.genre)}")
    return {"what": what, "count": count, "n": len(clips.genre)}


def _losses(proba: Floats, clips: Clips) -> Floats:
    return -np.log(np.maximum(proba[np.arange(len(clips.genre)), clips.genre], 1e-12))


def _taxonomy(info: ModelInfo) -> Taxonomy:
    if info.taxonomy is None:
        raise ValueError("the model has no taxonomy")
    return info.taxonomy


def _with(info: ModelInfo, **changes: Any) -> ModelInfo:
    taxonomy = Taxonomy.model_validate({**_taxonomy(info).model_dump(), **changes})
    return info.model_copy(update={"taxonomy": taxonomy})


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
