"""``earmark publish``: the current labels as one table for other tools."""

from jobs.read_tables import open_tables, pick_published_model
from pipeline.publish.destination import Format, check_destination
from pipeline.publish.publish import publish_labels
from pipeline.tables.runs import last_catalog
from schemas.report import Publication


def publish_job(
    location: str, destination: str, form: Format, model: str | None, *, embeddings: bool | None
) -> Publication:
    """Publish the current labels of a model; by default, of the one that labeled last.

    Parameters
    ----------
    location : str
        The tables.
    destination : str
        Folder or prefix to publish to.
    form : str
        ``delta`` or ``parquet``.
    model : str or None
        Name with or without hash, or folder, of a model. Without one, rows are not removed if fewer would be
        left: a trial of another model may have labeled last.
    embeddings : bool or None
        Whether to publish the mean embedding of each track; None: if they are published there already.

    Raises
    ------
    MisuseError
        If there are no labels of the model, neither in the tables nor published, or the destination holds or
        is part of something else.
    EarmarkError
        If another program changed the destination at the same time, or a store fails.
    """
    tables = open_tables(location)
    catalog = last_catalog(tables)
    checked = check_destination(destination, tables.root, catalog)
    return publish_labels(
        tables,
        pick_published_model(tables, model),
        checked,
        form,
        embeddings=embeddings,
        may_shrink=model is not None,
    )
