"""What ``earmark similar`` prints."""

import pyarrow as pa

from jobs.console.output import print_table
from pipeline.formatting import short_name
from pipeline.tables.runs import last_catalog
from pipeline.tables.tables import Tables


def print_similar(rows: pa.Table, tables: Tables) -> None:
    """Print similar tracks with their paths below the catalog, one per line."""
    catalog = last_catalog(tables)
    print_table(
        ("similarity", "genre", "artist", "title", "track"),
        (
            (
                f"{row['similarity']:.3f}",
                *(short_name(row[name] or "–") for name in ("genre", "artist", "title")),
                row["uri"].removeprefix(f"{catalog}/"),
            )
            for row in rows.to_pylist()
        ),
    )
