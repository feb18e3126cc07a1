"""Calibrates a student and measures it.

Head and biases are fitted to the calibrated teacher (`infra.distill.head`); what is music, and which labels
hold, as for ``audioset``. The temperature is fitted to the valid clips, as that of ``gtzan`` is: by the
teacher's, a student of few steps is too modest.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from infra.audioset.clips import Clips, clips_of, imitate, listed_files, outside
from infra.audioset.figures import count_music, report
from infra.audioset.genres import fit_scores, losses, raw_scores
from infra.audioset.sounds import fitted_sounds, measured_noises, measured_speech
from infra.audioset.splits import listed_clips
from infra.audioset.taxonomy import fit_labels, fit_music, taxonomy_of
from infra.distill.augmentation import CROP
from infra.distill.head import fit_head
from infra.distill.training import BATCH, output_classes
from pipeline.models.audioset import FEATURES, N_FRAMES, audioset_info
from pipeline.models.mobilenet import EMBEDDING, Head
from pipeline.models.prediction import read_outputs, softmax
from pipeline.training.provenance import hash_name
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo

FOLDS, LEFT_OUT = 5, 2

Floats = NDArray[np.float64]
Facts = dict[str, str | int | float | None]


def left_out_clips(gtzan: Path) -> frozenset[str]:
    """Return the middle fifth of each genre of the train list: artists stand one after the other there."""
    names = sorted(listed_clips(gtzan, "train"))
    by_genre = {genre: [name for name in names if name.startswith(f"{genre}.")] for genre in GTZAN_GENRES}
    return frozenset(
        name
        for of_genre in by_genre.values()
        for place, name in enumerate(of_genre)
        if place * FOLDS // len(of_genre) == LEFT_OUT
    )


def student_info(name: str) -> ModelInfo:
    """Return what is known of a student before anything is fitted."""
    teacher = taxonomy_of(audioset_info())
    classes = [each.model_copy(update={"index": place}) for place, each in enumerate(teacher.classes)]
    music = len(classes)
    taxonomy = {
        "n_outputs": len(output_classes()),
        "classes": [each.model_dump() for each in classes],
        "music": music,
        "speech": list(range(music + 1, len(output_classes()))),
        "threshold": teacher.threshold,
        "is_music": {"intercept": 0, "music": 1, "speech": 0},
    }
    return ModelInfo.model_validate(
        {
            "name": name,
            "genres": teacher.genres(),
            "features": FEATURES,
            "n_frames": N_FRAMES,
            "temperature": 1.0,
            "taxonomy": taxonomy,
        }
    )


def with_scores(network: Any, share: float) -> Any:
    """Return a network of one output a class, whose GTZAN genres are partly their learned scores.

    Parameters
    ----------
    network : keras.Model
        As `infra.distill.training.train` returns it: classes, and behind them ten scores.
    share : float
        0: the classes alone, as the teacher's logits were learned; 1: the scores alone.
    """
    kernel, bias = network.get_layer("outputs").get_weights()
    n_classes = len(output_classes())
    for place, each in enumerate(taxonomy_of(audioset_info()).classes):
        if each.style is None and each.genre in GTZAN_GENRES:
            score = n_classes + GTZAN_GENRES.index(each.genre)
            kernel[:, place] = (1 - share) * kernel[:, place] + share * kernel[:, score]
            bias[place] = (1 - share) * bias[place] + share * bias[score]
    return with_outputs(network, kernel[:, :n_classes], bias[:n_classes])


def with_head(network: Any, head: Head) -> Any:
    """Return a network with the head's outputs behind its own."""
    kernel, bias = network.get_layer("outputs").get_weights()
    return with_outputs(
        network, np.concatenate([kernel, head.weights], axis=1), np.concatenate([bias, head.bias])
    )


def with_outputs(network: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> Any:
    """Return a network of the same layers but for the last."""
    import keras
    from keras import layers

    last = layers.Dense(kernel.shape[1], name="outputs")
    changed = keras.Model(network.inputs[0], last(network.get_layer(EMBEDDING).output), name=network.name)
    last.set_weights([kernel, bias])
    return changed


def held_out(info: ModelInfo, network: Any, gtzan: Path) -> dict[str, float]:
    """Return accuracies and the temperature on clips that the student left out, for a fit without them."""
    inside, outside = divided(info, network, gtzan)
    fit = fit_scores(info, *inside)

    def loss(x: Floats) -> float:
        proba = replace(fit, temperature=float(np.exp(x[0]))).proba(outside[0], info)
        return float(losses(proba, outside[0]).sum())

    temperature = float(np.exp(minimize(loss, [0.0], method="Nelder-Mead").x[0]))
    found = {"temperature": temperature, "fitted_temperature": fit.temperature}
    for name, clips in zip(("real", "imitated"), outside, strict=True):
        proba = fit.proba(clips, info)
        right = proba.argmax(axis=1) == clips.genre
        plain = softmax(clips.mean(raw_scores(info, clips.logits))).argmax(axis=1) == clips.genre
        found |= {
            f"{name}_n": len(right),
            f"{name}": float(right.mean()),
            f"{name}_plain": float(plain.mean()),
        }
        found[f"{name}_loss"] = float(losses(proba, clips).mean())
    return found


def divided(info: ModelInfo, network: Any, gtzan: Path) -> tuple[list[Clips], list[Clips]]:
    """Return train clips, real and imitated, that the pilot was trained on and those that were left out."""
    left_out = left_out_clips(gtzan)
    train = clips_of(gtzan, network, info.genres, "train")
    both = (train, imitate(info.genres, gtzan, network, train))
    return [_within(each, left_out, False) for each in both], [_within(each, left_out, True) for each in both]


def load(path: Path) -> Any:
    """Return a network that was saved."""
    import keras

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _within(clips: Clips, names: frozenset[str], wanted: bool) -> Clips:
    return clips.of(
        np.array([n for n, track in enumerate(clips.tracks) if (track in names) == wanted], np.intp)
    )


def training_facts(gtzan: Path, trained: Sequence[Path]) -> Facts:
    """Return notes on the training for ``model.json``, with hashes of the clips that it learned from.

    Parameters
    ----------
    gtzan : Path
        The folder of GTZAN's data.
    trained : sequence of Path
        The network, and those that its training went on from; their logs are beside them.
    """
    logs = [each.with_suffix(".log").read_text().splitlines() for each in trained]
    last = [json.loads(log[-1]) for log in logs]
    trained_on = set(listed_clips(gtzan, "train"))
    return {
        "command": "python -m infra.distill, as infra/distill/README.md describes",
        "teacher": "mn04_as of EfficientAT (Schmid, Koutini and Widmer 2023): its outputs alone",
        "steps": sum(each["step"] for each in last),
        "batch_size": BATCH,
        "crop": CROP,
        "cpu_s": sum(each["cpu_s"] for each in last),
        "regression": round(last[0]["regression"], 4),
        "threads": 1,
        "tensorflow": version("tensorflow"),
        "trained_on": _hashes(trained_on),
        "calibrated_on": _hashes(trained_on | set(listed_files(gtzan, "valid"))),
    }


def _hashes(names: Iterable[str]) -> str:
    return " ".join(sorted({hash_name(name) for name in names}))


def calibrate(name: str, network: Any, cache: Path, gtzan: Path, training: Facts) -> tuple[ModelInfo, Any]:
    """Fit head, biases and temperature to the teacher, labels and music to train clips, and measure.

    Returns
    -------
    info, network : ModelInfo and keras.Model
        What ships.
    """
    info, head, agreement = fit_head(student_info(name), network, cache)
    print(f"student and teacher name the same genre: {agreement}")
    whole = with_head(network, head)
    agreeing: Facts = {f"agreement_{source}": share for source, share in agreement.items()}
    return with_facts(*finish(info, whole, gtzan), training | agreeing), whole


def finish(info: ModelInfo, network: Any, gtzan: Path) -> tuple[ModelInfo, list[Any], list[Any]]:
    """Fit what is music and which labels hold, and measure.

    Returns
    -------
    info, figures, counts : ModelInfo and two lists of dict
        As ``model.json`` has them.
    """
    network = _with_any_embedding(network)
    train, valid = (clips_of(gtzan, network, info.genres, each) for each in ("train", "valid"))
    fitted_to = outside(network, fitted_sounds())
    info = fit_music(fit_labels(info, train), train, fitted_to)
    info = _fit_temperature(info, valid)
    measured = outside(network, measured_speech())
    noise = outside(network, measured_noises())
    counts = count_music(info, measured, noise, valid)
    return info, report(info, "valid clips", valid), counts


def _fit_temperature(info: ModelInfo, clips: Clips) -> ModelInfo:
    """Return the model with the temperature by which clips are likeliest to have their genres."""

    def at(x: Floats) -> ModelInfo:
        return info.model_copy(update={"temperature": round(float(np.exp(x[0])), 4)})

    def loss(x: Floats) -> float:
        return float(losses(clips.mean(read_outputs(clips.logits, at(x)).proba), clips).mean())

    return at(minimize(loss, [np.log(info.temperature)], method="Nelder-Mead").x)


def with_facts(info: ModelInfo, figures: list[Any], counts: list[Any], training: Facts) -> ModelInfo:
    """Return the whole ``model.json``."""
    facts = {"figures": figures, "counts": counts, "training": training}
    return ModelInfo.model_validate(json.loads(info.model_dump_json()) | facts)


def _with_any_embedding(network: Any) -> Any:
    """Return a network that has an embedding for the fits to read: its outputs, if it has none."""
    import keras
    from keras import layers

    if any(layer.name == EMBEDDING for layer in network.layers):
        return network
    return keras.Model(network.inputs[0], layers.Activation("linear", name=EMBEDDING)(network.output))
