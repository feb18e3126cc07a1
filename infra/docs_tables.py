"""Write the generated parts of docs/ from what they are about: `python -m infra.docs_tables`."""

import re
from pathlib import Path

import pyarrow as pa
from typer.main import get_command

from jobs.cli.commands.settings import default_of, flag_of, range_of
from jobs.cli.main import app
from jobs.engine.metrics import METRICS
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from schemas.config import RunConfig
from schemas.published import published_schema
from schemas.tables import PARTITIONS, SCHEMAS

_HEAD = ("| column | type | unit | nullable | meaning |", "|---|---|---|---|---|")
_DOCS = Path(__file__).resolve().parent.parent / "docs"


def render_columns(name: str) -> str:
    """Return the columns of a table as Markdown: those in its files, then those in its paths."""
    rows = [*_HEAD, *(_render_row(field) for field in SCHEMAS[name])]
    rows += [f"| `{column}` | string | | no | partition, part of the path |" for column in PARTITIONS[name]]
    return "\n".join(rows)


def render_published() -> str:
    """Return the columns of the published table as Markdown."""
    return "\n".join([*_HEAD, *(_render_row(field) for field in published_schema(embeddings=True))])


def _render_row(field: pa.Field) -> str:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    description = metadata["description"].replace("|", "\\|")
    nullable = "yes" if field.nullable else "no"
    return f"| `{field.name}` | {field.type} | {metadata.get('unit', '')} | {nullable} | {description} |"


def settings() -> str:
    """The settings of a run as Markdown: as the file has them, and the flags of those that commands take."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    of_runs = [each for name in ("run", "featurize", "label") for each in commands[name].params]
    flags = {flag for each in of_runs for flag in each.opts}
    rows = ["| setting | flag | default | range | meaning |", "|---|---|---|---|---|"]
    for name, field in RunConfig.model_fields.items():
        flag = f"`{flag_of(name)}`" if flag_of(name) in flags else ""
        default = default_of(name) or ("off" if field.default is False else "")
        limits = f"`{found}`" if (found := range_of(field)) else ""
        rows.append(f"| `{name}` | {flag} | {default} | {limits} | {field.description} |")
    return "\n".join(rows)


def metrics() -> str:
    """The metrics of a run as Markdown."""
    rows = ["| metric | labels | meaning |", "|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.exported}` | {labels} | {metric.description} |")
    return "\n".join(rows)


PARTS = {
    _DOCS / "tables.md": {
        **{name: render_columns(name) for name in SCHEMAS},
        "published": render_published(),
        "descriptors": ", ".join(f"`{name}`" for name in DESCRIPTOR_NAMES),
    },
    _DOCS / "operations.md": {"settings": settings(), "metrics": metrics()},
}
"""The generated parts of each page, by name."""


def rendered(page: Path) -> str:
    """The page with each generated part as it is now."""
    text = page.read_text("utf-8")
    for name, part in PARTS[page].items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        block = f"{begin}\n\n{part}\n\n{end}".replace("\\", r"\\")
        text, n_found = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", block, text, flags=re.DOTALL)
        if n_found != 1:
            raise ValueError(f"{page.name} must hold one part '{begin} … {end}', not {n_found}")
    return text


if __name__ == "__main__":
    for each in PARTS:
        each.write_text(rendered(each), "utf-8")
