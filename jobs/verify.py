"""``earmark verify``: check that the tables hold every track exactly once."""

from dataclasses import asdict

from jobs.console.json_text import json_text
from jobs.console.progress import show_progress
from jobs.engine import lease_acquisition
from pipeline.catalogs.catalog import canonical, survey
from pipeline.catalogs.manifest_versions import confirm_versions
from pipeline.tables.maintenance.verify.findings import Verification
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError


def verify_job(tables: Tables, catalog: str | None, *, deep: bool) -> tuple[Verification, bool]:
    """Check the tables and, optionally, whether they cover a catalog.

    Parameters
    ----------
    tables : Tables
        The tables, which are only read, without taking the lease.
    catalog : str or None
        The catalog that the tables must cover; if None, what the runs have listed.
    deep : bool
        Read all data of all parts.

    Returns
    -------
    verification : Verification
        The findings.
    busy : bool
        Whether the lease was held before or after, so that findings may be temporary.

    Raises
    ------
    EarmarkError
        If the catalog is empty, or the store fails.
    """
    busy = _is_held(tables)
    listing = None
    if catalog is not None:
        with show_progress("listing") as meter:
            surveyed = survey(canonical(catalog), progress=meter.show)
        listing = confirm_versions(surveyed, tables).tracks
        if not listing.num_rows:
            raise EarmarkError(f"the catalog {catalog} contains no audio files")
    verification = verify(tables, read_reports(tables), listing=listing, deep=deep)
    return verification, busy or _is_held(tables)


def _is_held(tables: Tables) -> bool:
    return lease_acquisition.free_number(tables.root) is None


def is_explained(tables: Tables, verification: Verification) -> bool:
    """Whether all faults may be gone once a run that is writing to the tables has ended.

    Watches the lease of a run that was busy meanwhile, for up to 20 s: a killed run explains nothing.
    """
    return not verification.lasting and lease_acquisition.is_live(tables.root)


def render_json(tables: Tables, verification: Verification, *, busy: bool) -> str:
    """Return the verification as JSON for other programs."""
    states = {"sound": verification.sound, "complete": not verification.unchecked, "busy": busy}
    whole = {"tables": tables.root} | states | asdict(verification)
    return json_text(whole, indent=2)
