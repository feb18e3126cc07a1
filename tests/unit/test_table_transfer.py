"""Tables that Ray transfers: what a worker gets is what the driver sent."""

import pyarrow as pa
import pytest

from jobs.engine.table_transfer import decode_table, encode_table
from pipeline.catalogs.track_refs import to_batch
from schemas.tables import LISTING
from schemas.tracks import TrackRef

TRACKS = [
    TrackRef(f"id-{n}", f"/music/{n}.wav", n, "etag", 1.5, carried={"label": "ECM"} if n % 2 else {})
    for n in range(5)
]
TABLE = pa.Table.from_batches([to_batch(TRACKS)], LISTING).append_column("attempts", pa.array([0] * 5))


@pytest.mark.parametrize(
    "table", [TABLE, TABLE.slice(1, 2), TABLE.slice(0, 0), pa.concat_tables([TABLE, TABLE])]
)
def test_a_table_arrives_as_it_was_sent(table: pa.Table) -> None:
    """Fails: a worker decodes other tracks than it was given, or loses what a manifest says about them."""
    arrived = decode_table(encode_table(table))
    assert arrived.equals(table, check_metadata=True)


def test_a_slice_is_sent_without_the_table_that_it_belongs_to() -> None:
    """Fails: every shard of a catalog of a million tracks takes the whole listing along."""
    long = pa.concat_tables([TABLE] * 1000).combine_chunks()
    assert len(encode_table(long.slice(7, 5))) < 2 * len(encode_table(TABLE))
