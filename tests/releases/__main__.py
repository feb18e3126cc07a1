"""Make the folder of a release with the installed command: ``python -m tests.releases VERSION``."""

import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.cnn import build_cnn
from schemas.features import FeatureSpec
from schemas.model import ModelInfo
from tests.e2e.earmark import EARMARK
from tests.releases.catalog import GENRES, write_night

PLACE = Path("/srv/earmark")
"""Where the tables are made. Reports and rows contain this path, so it must not be specific to a machine."""


def main(version: str) -> None:
    """Label two nights of the catalog with a small model, and keep the tables, which contain the model."""
    catalog, tables, model = PLACE / "music", PLACE / "tables", PLACE / "model"
    features = FeatureSpec()
    info = ModelInfo(name="small", genres=GENRES, features=features, n_frames=387, temperature=1.0)
    network = build_cnn(features.n_mels, 387, len(GENRES), width=4)
    ModelBundle(info, network_bytes(network)).save(model)
    for night in (0, 1):
        write_night(catalog, night)
        options: list[str | Path] = ["--model", model, "--descriptors", "--segment-labels"]
        subprocess.run([EARMARK, "run", catalog, tables, *options], check=True)
    # Leave out the pages, which can be made again from the reports.
    kept = Path(__file__).with_name(version) / "tables"
    shutil.copytree(tables, kept, ignore=shutil.ignore_patterns("*.html"))
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    main(*sys.argv[1:])
