"""What relabeling costs: ``python tests/benchmarks/bench_relabel.py [TRACKS [MODEL]]``.

For mp3s of 3 to 5 minutes (20 by default), one thread: CPU milliseconds per track to label from stored
features, and to decode and featurize first, as a run must do after ``--keep-features none``; and the kB per
track that stored features take, in a part as it is written.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.shards.one_track import track_features
from pipeline.shards.rows import feature_rows
from pipeline.tables.tables import encode_part
from schemas.tracks import TrackFeatures, TrackRef
from tests.benchmarks.long_catalog import write_long_catalog
from tests.log_mels import log_mel_of


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the CPU time that `work` takes in this process, milliseconds."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def main(n_tracks: int = 20, name: str = "default") -> None:
    """Measure and print."""
    bundle = ModelBundle.load(name)
    spec = bundle.info.features
    set_up_tensorflow(1)
    classifier = Classifier(bundle, batch_size=8)
    with tempfile.TemporaryDirectory(prefix="earmark-relabel-") as folder:
        write_long_catalog(Path(folder), n_tracks=n_tracks)
        paths = sorted(Path(folder).rglob("*.mp3"))
        track_features(paths[0], spec)  # compiles and loads what the first one needs
        features: list[TrackFeatures] = []

        def featurize(path: Path) -> None:
            features.append(track_features(path, spec))

        decoding = [cpu_ms(partial(featurize, path)) for path in paths]
        stacks = [np.stack([log_mel_of(segment) for segment in each.segments]) for each in features]
        classifier.predict(stacks[0], None)
        labeling = [cpu_ms(partial(classifier.predict, stack, None)) for stack in stacks]
        refs = [TrackRef(path.stem, str(path), 1, "1") for path in paths]
        size = len(encode_part(feature_rows(list(zip(refs, features, strict=True)), spec), row_group_size=64))
    print(f"{bundle.model}, {n_tracks} tracks, {np.mean([len(stack) for stack in stacks]):.1f} segments each")
    print(f"label from stored features     {np.median(labeling):7.1f} ms of CPU per track")
    print(f"decode and featurize first     {np.median(decoding):7.1f} ms of CPU per track more")
    print(f"stored features                {size / n_tracks / 1e3:7.1f} kB per track")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3]) if len(sys.argv) > 1 else main()
