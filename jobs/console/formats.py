"""The formats in which commands print rows; apart from what writes them, which takes a second to load."""

from typing import Literal

Format = Literal["table", "csv", "tsv", "json", "parquet"]
