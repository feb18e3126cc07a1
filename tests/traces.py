"""A search for traces of tracks through every byte that tables hold."""

import html
import io
import json

import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables


def find_in_tables(tables: Tables, *texts: str) -> list[str]:
    """Every file under the root that holds one of the texts: in its bytes, or in any column of any row."""
    needles = {form for text in texts for form in (text, html.escape(text), json.dumps(text)[1:-1])}
    found = []
    for entry in list_objects(tables).objects:
        data = storage.read_bytes(f"{tables.root}/{entry.path}")
        contents = data.decode("utf-8", "replace")
        if entry.name.endswith(".parquet"):
            file = pq.ParquetFile(io.BytesIO(data))
            contents += repr(file.read().to_pylist()) + repr(file.schema_arrow.metadata)
        if any(needle in contents for needle in needles):
            found.append(entry.path)
    return found
