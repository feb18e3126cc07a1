"""Checks of the embeddings: each labeled track has them where they were asked for, and they are vectors."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding, report_rows
from pipeline.tables.maintenance.verify.keys import TableKeys
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, keep_newest
from schemas.report import RunReport


def find_missing_embeddings(keys: TableKeys, reports: Sequence[RunReport]) -> list[Finding]:
    """Find current labels without embeddings of completed runs that were to write both.

    A killed run may leave labels without embeddings; the next run with ``--embeddings`` adds those. Vacuum
    removes the embeddings of content that has left the catalog.
    """
    done = [report.run for report in reports if report.outcome == "done" and report.writes_embeddings]
    labels = keys.labels.filter(pc.is_in(keys.labels["run"], pa.array(done, pa.string())))
    newest = keep_newest(keys.tracks, "listed_at")
    newest = newest.filter(newest["present"])
    listed = pa.table({"listed_by": newest["run"]} | {name: newest[name] for name in VERSION_KEY})
    joined = labels.join(listed, list(VERSION_KEY), join_type="inner")
    # A track that left and came back since may have lost its embeddings in between.
    steady = joined.filter(pc.greater_equal(joined["run"], joined["listed_by"]))
    return report_rows(
        "missing embeddings",
        "embeddings",
        "labels of runs with --embeddings without embeddings; the next such run writes them again",
        anti_join(steady, keys.embeddings, ("model", *VERSION_KEY)),
        "track_id",
    )


def check_vectors(tables: Tables) -> list[Finding]:
    """Find segments whose vector is not of the model's length, or holds a value that is not finite."""
    n_numbers: dict[str, int] = {}
    count = 0
    examples: list[str] = []
    for batch in tables.read_batches("embeddings", ["track_id", "vector", "model"]):
        for model in batch["model"].unique().to_pylist():
            rows = batch.filter(pc.equal(batch["model"], model))
            lengths = pc.list_value_length(rows["vector"]).to_numpy()
            expected = n_numbers.setdefault(model, int(lengths[0]))
            wrong = lengths != expected
            if not wrong.any():
                vectors = rows["vector"].flatten().to_numpy(zero_copy_only=False)
                wrong = ~np.isfinite(vectors.reshape(-1, expected)).all(axis=1)
            count += int(wrong.sum())
            examples += rows["track_id"].filter(pa.array(wrong)).to_pylist()[:EXAMPLES]
    if not count:
        return []
    message = "segments whose vector differs in length from the model's others, or is not of finite numbers"
    return [Finding("invalid embedding", "embeddings", message, count, tuple(examples[:EXAMPLES]))]
