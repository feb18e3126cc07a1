"""Write the generated parts of docs/tables.md from the schemas: `python -m infra.docs_tables`."""

import re
from pathlib import Path

import pyarrow as pa

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from schemas.tables import PARTITIONS, SCHEMAS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tables.md"


def render_columns(name: str) -> str:
    """Return the columns of a table as Markdown: those in its files, then those in its paths."""
    rows = ["| column | type | unit | nullable | meaning |", "|---|---|---|---|---|"]
    rows += [_render_row(field) for field in SCHEMAS[name]]
    rows += [f"| `{column}` | string | | no | partition, part of the path |" for column in PARTITIONS[name]]
    return "\n".join(rows)


def _render_row(field: pa.Field) -> str:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    description = metadata["description"].replace("|", "\\|")
    nullable = "yes" if field.nullable else "no"
    return f"| `{field.name}` | {field.type} | {metadata.get('unit', '')} | {nullable} | {description} |"


def render_page(page: str) -> str:
    """Return the page with each generated part made from the current schemas."""
    parts = {name: render_columns(name) for name in SCHEMAS}
    parts["descriptors"] = ", ".join(f"`{name}`" for name in DESCRIPTOR_NAMES)
    for name, text in parts.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        block = f"{begin}\n\n{text}\n\n{end}"
        page, n_found = re.subn(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, block=block: block, page, flags=re.DOTALL
        )
        if n_found != 1:
            raise ValueError(f"{PAGE.name} must have exactly one part '{begin} … {end}', not {n_found}")
    return page


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text("utf-8")), "utf-8")
