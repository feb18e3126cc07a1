"""``python -m infra.distill STEP …``: the steps are described in ``infra/distill/README.md``."""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

from infra.distill import calibration, sounds
from infra.distill.augmentation import DEGRADED, LIGHT
from infra.distill.bandwidth import fit_bands, with_equal_bandwidth
from infra.distill.mixing import mixed
from infra.distill.teacher_outputs import make_predictor, read_recorded, record_outputs
from infra.distill.training import pooled, read_training_data, train
from pipeline.models.audioset import N_FRAMES, build_network
from pipeline.models.bundle import ModelBundle, network_bytes, read_info
from pipeline.models.classifier import fit_frames
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.models.torch_file import read_weights

SOURCES = {
    "games": sounds.games,
    "accompaniments": sounds.accompaniments,
    "spoken": sounds.spoken,
    "clips": sounds.clips,
    "imitated": sounds.imitated,
}
AUGMENTATIONS = {"train": LIGHT, "train-degraded": DEGRADED}
MIXED_FROM = {"games": 0.35, "accompaniments": 0.15, "clips": 0.35, "spoken": 0.15}
N_MIXED = 3000


def main(step: str, *arguments: str) -> None:
    """Run a step."""
    set_up_tensorflow(threads=1)
    if step in SOURCES:
        weights, folder, cache = (Path(each) for each in arguments)
        record_outputs(teacher(weights), SOURCES[step](folder), cache / step)
    elif step == "mixed":
        weights, cache = (Path(each) for each in arguments[:2])
        n = int(arguments[2]) if len(arguments) > 2 else N_MIXED
        sources = [read_recorded(cache / name) for name in MIXED_FROM]
        record_outputs(teacher(weights), mixed(sources, list(MIXED_FROM.values()), n, seed=0), cache / step)
    elif step in AUGMENTATIONS:
        cache, gtzan, out = (Path(each) for each in arguments[:3])
        n_steps, seed, all_clips = (int(each) for each in arguments[3:6])
        start = calibration.load(Path(arguments[6])) if len(arguments) > 6 else None
        left_out = frozenset() if all_clips else calibration.left_out_clips(gtzan)
        data = read_training_data(cache, [*SOURCES, "mixed"], left_out)
        log, how = out.with_suffix(".log"), AUGMENTATIONS[step]
        train(data, n_steps=n_steps, seed=seed, log=log, start=start, how=how).save(out)
    elif step == "calibrate":
        cache, gtzan, out, *trained = (Path(each) for each in arguments)
        network = calibration.with_scores(calibration.load(trained[0]), share=0.0)
        facts = calibration.training_facts(gtzan, trained)
        info, whole = calibration.calibrate("earmark-cnn", network, cache, gtzan, facts)
        ModelBundle(info, network_bytes(whole)).save(out)
    elif step == "bandwidth":
        gtzan, bundle, out = (Path(each) for each in arguments)
        fitted = fit_bands(
            pooled(fit_frames(each, N_FRAMES)) for each in chain(*sounds.train_segments(gtzan).values())
        )
        network = with_equal_bandwidth(calibration.load(bundle / "model.keras"), fitted)
        ModelBundle(read_info(str(bundle)), network_bytes(network)).save(out)
    elif step == "held-out":
        gtzan, student = (Path(each) for each in arguments)
        for share in (0.0, 0.5, 1.0):
            network = calibration.with_scores(calibration.load(student), share)
            found = calibration.held_out(calibration.student_info("student"), network, gtzan)
            print(json.dumps({"share": share} | found), flush=True)


def teacher(weights: Path) -> Any:
    """Return the published network as a function of levels."""
    return make_predictor(build_network(read_weights(weights.read_bytes())))


if __name__ == "__main__":
    main(*sys.argv[1:])
