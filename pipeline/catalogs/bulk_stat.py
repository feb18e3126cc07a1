"""Sizes and versions of many files known by name, looked up in as few requests as possible."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from os.path import commonprefix

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.remote_folder import s3_page, s3_stat
from pipeline.catalogs.track_refs import drop_impossible, local_track, stat_track
from pipeline.storage import storage
from pipeline.storage.errors import is_store_error, is_transient
from pipeline.storage.file_versions import FileStat
from schemas.tables import TIMESTAMP

_FACTS = pa.schema([("size", pa.int64()), ("etag", pa.string()), ("modified_at", pa.float64())])
_THREADS = 32
_FILES_AT_ONCE = 100
_CHUNK = 2000
"""Names that one thread looks up in a listing, and that are looked up between two progress reports."""
_LATEST_US = 1e18
"""A time that a timestamp can hold, in microseconds, later than any that a calendar has."""
_MIN_PER_PAGE = 10
"""Objects wanted of a page of 1,000 from which listing costs less than one request for each."""


def stat_listing(
    tracks: pa.Table, which: pa.Array, *, progress: Callable[[int], None] = lambda n_known: None
) -> pa.Table:
    """Return listing rows, some of them with the size, etag and modification time that their stores have now.

    Parameters
    ----------
    tracks : pyarrow.Table
        Columns of `schemas.tables.LISTING`.
    which : pyarrow.Array of bool
        The tracks to look up.
    progress : callable, optional
        Called with the number of tracks known so far.

    Raises
    ------
    OSError
        If a store fails.
    """
    uris = tracks["uri"].filter(which).to_pylist()
    answers = [pa.Table.from_arrays([[], [], []], schema=_FACTS)]
    n_known = tracks.num_rows - len(uris)
    for facts in stat_many(uris):
        answers.append(pa.table(list(zip(*facts, strict=True)), schema=_FACTS))
        n_known += len(facts)
        progress(n_known)
    asked = pa.concat_tables(answers).combine_chunks()
    seconds = asked["modified_at"].to_numpy()
    microseconds = np.rint(np.clip(seconds * 1e6, -_LATEST_US, _LATEST_US)).astype(np.int64)
    times = drop_impossible(pa.array(microseconds, mask=seconds == 0.0).cast(TIMESTAMP))
    columns = {"size": asked["size"], "etag": asked["etag"], "modified_at": pa.chunked_array([times])}
    for name, answer in columns.items():
        index = tracks.schema.get_field_index(name)
        known = tracks[name].combine_chunks()
        merged = pc.replace_with_mask(known, which, answer.combine_chunks())
        tracks = tracks.set_column(index, tracks.schema.field(name), merged)
    return tracks


def stat_many(uris: Sequence[str]) -> Iterator[list[FileStat]]:
    """Yield sizes, etags and modification times in the order of the uris, some thousand at a time.

    S3 objects that lie close together are looked up in the listing of their bucket. The others are looked up
    one by one, as are those that are missing, or in a bucket that may not be listed.

    Parameters
    ----------
    uris : sequence of str
        Paths and URIs; missing ones get the etags of `pipeline.catalogs.track_refs.stat_track`.

    Raises
    ------
    OSError
        If a store fails.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        listed = _find_in_listings(pool, uris)
        for start in range(0, len(uris), _CHUNK):
            chunk = uris[start : start + _CHUNK]
            left = [uri for uri in chunk if uri not in listed]
            asked = chain.from_iterable(pool.map(_stat_all, _groups(left)))
            yield [listed[uri] if uri in listed else next(asked) for uri in chunk]


def _groups(uris: list[str]) -> Iterator[list[str]]:
    """Yield what one thread looks up at a time: a hundred local files, which are quick, or one object."""
    for _, alike in groupby(uris, key=lambda uri: uri.startswith("/")):
        group = list(alike)
        step = _FILES_AT_ONCE if group[0].startswith("/") else 1
        yield from (group[start : start + step] for start in range(0, len(group), step))


def _stat_all(uris: list[str]) -> list[FileStat]:
    tracks = (local_track(uri, uri, "") if uri.startswith("/") else stat_track(uri, "") for uri in uris)
    return [(track.size, track.etag, track.modified_at) for track in tracks]


def _find_in_listings(pool: ThreadPoolExecutor, uris: Sequence[str]) -> dict[str, FileStat]:
    """Return the facts, by uri, of the S3 objects that were found in listings."""
    uris_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for uri in uris:
        if not uri.startswith("/") and (location := storage.split(uri))[0] == "s3":
            bucket, _, key = location[1].partition("/")
            uris_of[bucket][key].append(uri)
    found: dict[str, FileStat] = {}
    for bucket, uris_by_key in uris_of.items():
        keys = sorted(uris_by_key)
        chunks = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
        for facts_of in pool.map(_look_up, [bucket] * len(chunks), chunks):
            found |= {uri: facts for key, facts in facts_of.items() for uri in uris_by_key[key]}
    return found


def _look_up(bucket: str, keys: list[str]) -> dict[str, FileStat]:
    """Return the facts of those sorted keys that lie close enough together in the bucket's listing."""
    found: dict[str, FileStat] = {}
    folder = commonprefix([keys[0], keys[-1]]).rpartition("/")[0]  # noqa: RUF071 (keys are not paths)
    start = 0
    while len(keys) - start >= _MIN_PER_PAGE:
        # StartAfter is exclusive; the wanted key without its last character sorts just before it.
        request = {"Bucket": bucket, "Prefix": f"{folder}/" if folder else "", "StartAfter": keys[start][:-1]}
        try:
            page = s3_page(request)
        except Exception as error:
            if not is_store_error(error) or is_transient(error):
                raise
            break  # permission to read objects does not imply permission to list them
        contents = page.get("Contents", ())
        wanted = set(keys[start:])
        n_before = len(found)
        found |= {item["Key"]: s3_stat(item) for item in contents if item["Key"] in wanted}
        if not page.get("IsTruncated") or len(found) - n_before < _MIN_PER_PAGE:
            break
        start = bisect_right(keys, contents[-1]["Key"])
    return found
