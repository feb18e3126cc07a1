"""Calibrates the model ``audioset`` and measures it: ``python -m infra.audioset WEIGHTS GTZAN``.

WEIGHTS is the published file ``mn04_as_mAP_432.pt``; GTZAN is a folder with ``audio*/`` and ``splits/``. It
needs espeak-ng. Fitted to are clips of the train list, those without audio by their published log-mels, and
synthesized speech and noise; measured are clips of the valid list, and speech of other voices, languages and
texts, which choose nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from infra.audioset.clips import clips_of, imitate, outside
from infra.audioset.figures import count_music, report
from infra.audioset.genres import fit_genres
from infra.audioset.sounds import fitted_sounds, measured_noises, measured_speech
from infra.audioset.taxonomy import fit_labels, fit_music, taxonomy_of
from pipeline.models.audioset import FEATURES, N_FRAMES, build_network, check_outputs
from pipeline.models.torch_file import read_weights
from schemas.model import ModelInfo

OUT = Path(__file__).parents[2] / "pipeline" / "models"


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
    fitted_to = outside(network, fitted_sounds())
    imitated = imitate(genres, gtzan, network, train)
    info, head = fit_genres(info, train, imitated)
    train, valid, fitted_to = (each.with_head(head) for each in (train, valid, fitted_to))
    info = fit_music(fit_labels(info, train), train, fitted_to)
    report(info, "train clips, fitted to", train)
    measured = outside(network, measured_speech()).with_head(head)
    noise = outside(network, measured_noises()).with_head(head)
    written: dict[str, Any] = {
        "temperature": info.temperature,
        "taxonomy": taxonomy_of(info).model_dump(
            include={"n_outputs", "biases", "adjustment", "slope", "offset", "threshold", "is_music"}
        ),
        "figures": report(info, "valid clips", valid),
        "counts": count_music(info, measured, noise, valid),
        "training": {
            "weights": "mn04_as of EfficientAT, trained on AudioSet by Schmid, Koutini and Widmer (2023)",
            "calibrated_on": f"{len(train.genre)} train clips of GTZAN's fault-filtered split with audio, "
            f"and log-mels of all {len(imitated.genre)}",
            "command": "python -m infra.audioset WEIGHTS GTZAN",
        },
        "check": check_outputs(build_network(weights_of, head)),
    }
    np.savez(OUT / "audioset_head.npz", weights=head.weights, bias=head.bias)
    (OUT / "audioset_calibration.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
