"""Clips, and the outputs of a network for their segments."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.audioset.imitation import imitations
from infra.audioset.splits import listed_clips
from pipeline.audio.features.featurize import featurize_track
from pipeline.models.audioset import FEATURES, N_FRAMES
from pipeline.models.classifier import fit_frames
from pipeline.models.mobilenet import EMBEDDING, Head

Floats = NDArray[np.float64]


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
    return {track: files[track] for track in sorted(set(files) & set(listed_clips(gtzan, name)))}


def outside(network: Any, sounds: Iterable[bytes]) -> Clips:
    """Return clips of no genre."""
    found = list(sounds)
    names = [f"sound {number}" for number in range(len(found))]
    return _clips(network, names, found, np.full(len(found), -1, np.intp))


def imitate(genres: tuple[str, ...], gtzan: Path, network: Any, train: Clips) -> Clips:
    """Return the clips of the train list, by imitations of the network's log-mel."""
    names, named, segments = imitations(gtzan, train.by_track())
    numbers = np.array([genres.index(each) for each in named], np.intp)
    return _outputs(network, names, numbers, segments)


def _clips(network: Any, tracks: list[str], files: Iterable[bytes], genre: NDArray[np.intp]) -> Clips:
    found = [log_mels_of(track, data) for track, data in zip(tracks, files, strict=True)]
    return _outputs(network, tracks, genre, found)


def log_mels_of(name: str, data: bytes) -> list[NDArray[np.uint8]]:
    """Return the log-mels of the segments of audio."""
    segments = featurize_track(io.BytesIO(data), name, FEATURES).segments
    return [segment.log_mel for segment in segments if segment.log_mel is not None]


def _outputs(
    network: Any, tracks: list[str], genre: NDArray[np.intp], segments: list[list[NDArray[np.uint8]]]
) -> Clips:
    log_mels = [fit_frames(each, N_FRAMES) for of_clip in segments for each in of_clip]
    batches = [np.stack(log_mels[i : i + 8])[..., np.newaxis] for i in range(0, len(log_mels), 8)]
    import keras

    both = keras.Model(network.inputs[0], [network.output, network.get_layer(EMBEDDING).output])
    outputs = [both.predict_on_batch(batch.astype(np.float32)) for batch in batches]
    logits, embeddings = (np.concatenate(each).astype(np.float64) for each in zip(*outputs, strict=True))
    clip = np.repeat(np.arange(len(tracks)), [len(of_clip) for of_clip in segments])
    print(f"{len(tracks)} clips, {len(log_mels)} segments")
    return Clips(logits, embeddings, log_mels, clip, tracks, genre)
