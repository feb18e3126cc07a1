"""Make the pictures of the README from the demo catalog: `make pictures`. It needs Chromium."""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import chromium  # noqa: E402 - the checkout's own harness, found through the line above

OUT = ROOT / "infra" / "pictures"
EARMARK = Path(sys.executable).with_name("earmark")
WIDTH, PAGE_WIDTH, PAGE_HEIGHT = 900, 1280, 1180
TRACK_HEIGHT = 1462
"""Pixels that hold the first five plots of a track."""
COLORS = 128
"""Colors of a picture, chosen for coverage, so that a small color scale in a corner keeps its own."""


def earmark(*arguments: object) -> None:
    """Run the installed command."""
    subprocess.run([EARMARK, *map(str, arguments)], check=True)  # noqa: S603 - our own command


def save_picture(png: bytes, name: str, *, height: int | None = None) -> None:
    """Write a picture in `COLORS` colors, cropped to `height`, no wider than the README shows it."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(height or picture.height, picture.height)))
    scale = min(1.0, WIDTH / picture.width)
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    OUT.mkdir(exist_ok=True)
    picture.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        OUT / name, optimize=True
    )
    print(f"{OUT.relative_to(ROOT) / name}: {(OUT / name).stat().st_size // 1000} kB")


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory(prefix="earmark-pictures-") as folder:
        scratch = Path(folder)
        earmark("demo", "--out", scratch / "demo")
        # A synthesized piece of rock, which is electronic to the model.
        track = sorted((scratch / "demo" / "catalog" / "The Half Measures").rglob("*.*"))[0]
        earmark("plot", track, "--out", scratch / "track.png")
        earmark("explain", track, "--out", scratch / "why.png")
        save_picture((scratch / "track.png").read_bytes(), "track.png", height=TRACK_HEIGHT)
        save_picture((scratch / "why.png").read_bytes(), "why.png")
        (page,) = (scratch / "demo" / "tables" / "_runs").glob("2*.html")
        # Hide the folders of this machine.
        page.write_text(page.read_text("utf-8").replace(str(scratch / "demo" / "catalog"), "music"), "utf-8")
        with chromium(scratch / "profile") as browser:
            browser.open(page, width=PAGE_WIDTH)
            browser.screenshot(scratch / "run.png")
        save_picture((scratch / "run.png").read_bytes(), "run.png", height=PAGE_HEIGHT)


if __name__ == "__main__":
    main()
