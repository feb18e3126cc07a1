"""What the demo prints when it is done."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.console.output import console, print_table

if TYPE_CHECKING:
    from jobs.demo import DemoResult


def print_demo(demo: "DemoResult") -> None:
    """Print the labels of the demo, how many are correct, and what to try next."""
    console.print()
    root = f"{demo.catalog.absolute()}/"
    columns = ["genre", "confidence", "genre_tag", "uri"]
    print_table(
        ("label", "confidence", "true genre", "track"),
        (
            (row["genre"], f"{row['confidence']:.2f}", row["genre_tag"], row["uri"].removeprefix(root))
            for row in demo.labels.select(columns).to_pylist()
        ),
        title=f"{demo.labels.num_rows} labels",
    )
    console.print()
    print_table(
        ("error", "message"),
        (
            (row["error_type"], row["message"].replace(root, ""))
            for row in demo.failures.select(["error_type", "message"]).to_pylist()
        ),
        title=f"{demo.failures.num_rows} failures: three files of the catalog are broken on purpose",
    )
    shipped = demo.shipped
    for line in (
        "",
        f"{demo.n_right} of {demo.labels.num_rows} labels are correct, on artists not heard in training.",
        "Synthesized audio is easy: expect a lower accuracy on recordings. The default model knows 19 genres",
        f"and tells speech from music; its accuracy is {shipped.accuracy:.2f} on the {shipped.n} validation "
        "clips with audio",
        "of GTZAN's fault-filtered, artist-aware split. To label your own genres, train a model as",
        "the demo did.",
        "",
        *next_commands(demo.tables),
    ):
        console.print(line)


def next_commands(tables: Path) -> list[str]:
    """Return commands to try after the demo, as they can be copied and run."""
    # `make demo` does not activate the environment.
    started = Path(sys.argv[0])
    path = [sys.executable, "-m", "earmark"] if started.name == "__main__.py" else [str(started)]
    earmark = "earmark" if shutil.which("earmark") else shlex.join(path)
    commands = (
        (shlex.join(["labels", str(tables)]), "print the labels again (--format csv, json or parquet)"),
        ("run MUSIC TABLES", "label your music with the default model"),
        ("train SHELVES --on embeddings --out MODEL", "train on your genres: a folder of audio for each"),
        ("run MUSIC TABLES --model MODEL", "label your music in your genres"),
    )
    width = max(len(command) for command, _ in commands)
    lines = [f"    {earmark} {command:<{width}}  # {what}" for command, what in commands]
    page = tables / "_runs" / "index.html"
    return [f"Open {page} for the pages of the run. Next:", "", *lines]
