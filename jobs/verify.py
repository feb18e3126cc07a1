"""``earmark verify``: check the promise on real tables, and say what was found."""

from dataclasses import asdict

from jobs.console.output import json_text
from jobs.console.progress import metered
from jobs.engine import lease as leases
from pipeline.catalogs.catalog import canonical, survey
from pipeline.catalogs.vouching import confirm_versions
from pipeline.tables.maintenance.verify.findings import Verification
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError


def verify_job(tables: Tables, catalog: str | None, *, deep: bool) -> tuple[Verification, bool]:
    """Check the tables, and whether they hold all of a catalog.

    Parameters
    ----------
    tables : Tables
        The tables; they are only read, and no lease is taken.
    catalog : str or None
        The catalog that must be done; None: what the runs have listed.
    deep : bool
        Read all data of all parts.

    Returns
    -------
    verification : Verification
        What was found.
    busy : bool
        Whether something held the lease before or after: what was found may be of a moment.

    Raises
    ------
    EarmarkError
        If the catalog is empty, or the store refuses.
    """
    busy = _is_held(tables)
    listing = None
    if catalog is not None:
        with metered("listing") as meter:
            surveyed = survey(canonical(catalog), progress=meter.show)
        listing = confirm_versions(surveyed, tables).tracks
        if not listing.num_rows:
            raise EarmarkError(f"the catalog {catalog} holds no audio files")
    verification = verify(tables, read_reports(tables), listing=listing, deep=deep)
    return verification, busy or _is_held(tables)


def _is_held(tables: Tables) -> bool:
    return leases.free_number(tables.root) is None


def verification_json(tables: Tables, verification: Verification, *, busy: bool) -> str:
    """The verification for programs."""
    states = {"sound": verification.sound, "complete": not verification.unchecked, "busy": busy}
    whole = {"tables": tables.root} | states | asdict(verification)
    return json_text(whole, indent=2)
