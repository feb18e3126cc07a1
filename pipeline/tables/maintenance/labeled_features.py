"""Features that are no longer needed, because all of their tracks are labeled: found and removed.

A part is removed as a whole, and only if every version in it has its label and none ever failed: an older
failure counts as resolved as long as there are features, so these stay. So a removal, also one that was
killed halfway, changes neither what is planned for the model nor which failures are current, nor what verify
finds. Another model, or embeddings that are added later, need the tracks to be decoded again.
"""

from pipeline.storage import storage
from pipeline.tables.keys import Keys, open_keys
from pipeline.tables.maintenance.compact.compaction_log import recover_compactions
from pipeline.tables.objects import StoredObject, days_ago, remove_objects
from pipeline.tables.tables import Tables

_LABELED = "SELECT track_id, etag FROM labels WHERE model = $model"
_EMBEDDED = """\
SELECT track_id, etag
FROM labels SEMI JOIN (SELECT track_id, etag FROM embeddings WHERE model = $model) AS embedded
    USING (track_id, etag)
WHERE model = $model
"""
_UNNEEDED = """\
WITH held AS (
    SELECT part, count(*) AS rows FROM features WHERE feature_set = $feature_set GROUP BY part
),
unneeded AS (
    SELECT part, count(*) AS rows
    FROM features SEMI JOIN done USING (track_id, etag) ANTI JOIN failures USING (track_id, etag)
    GROUP BY part
)
SELECT part FROM held JOIN unneeded USING (part) WHERE held.rows = unneeded.rows ORDER BY part
"""


def remove_labeled_features(
    tables: Tables,
    model: str,
    feature_set: str,
    older_than_days: float,
    check: storage.Check,
    *,
    embeddings: bool,
) -> int:
    """Remove the parts of a feature set whose tracks a model has all labeled, and return their size in bytes.

    Parameters
    ----------
    tables : Tables
        The tables, whose lease the caller holds. They are listed anew, so the labels are there to be read.
    model : str
        The model's name with its hash.
    feature_set : str
        The features that the model takes; other sets stay, also those that contain more.
    older_than_days : float
        Keep parts that were written within this time.
    check : callable
        Called before each step that changes the tables; raises if another run may write to them.
    embeddings : bool
        Whether a track also needs the embeddings of the model before its features are removed.

    Raises
    ------
    EarmarkError
        If the store refuses; parts already removed stay removed.
    """
    recover_compactions(tables, check)  # whose old and merged parts hold the same rows
    with open_keys(tables) as keys:
        unneeded = find_labeled_features(keys, model, feature_set, embeddings=embeddings)
        cutoff = days_ago(older_than_days)
        old = [part for part in unneeded if part.modified_at <= cutoff]
        with storage.explain_errors(tables.root, "remove features of"):
            remove_objects([keys.stored.location(part) for part in old], check)
    return sum(part.size for part in old)


def find_labeled_features(
    keys: Keys, model: str, feature_set: str, *, embeddings: bool
) -> list[StoredObject]:
    """Find the parts of a feature set whose tracks a model has all labeled, none of which ever failed."""
    keys.load("features", "labels", "failures", *(("embeddings",) if embeddings else ()))
    keys.define("done", _EMBEDDED if embeddings else _LABELED, model=model)
    found = keys.query(_UNNEEDED, feature_set=feature_set)
    return [keys.stored.parts["features"][number] for number in found["part"].to_pylist()]
