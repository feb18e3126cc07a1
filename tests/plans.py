"""Plans of tables that are not open yet."""

import pyarrow as pa

from pipeline.catalogs.planning import Goal, Plan, make_plan
from pipeline.tables.keys import open_keys
from pipeline.tables.tables import Tables


def plan_tables(listing: pa.Table, tables: Tables, goal: Goal, *, partial: bool = False) -> Plan:
    """Compare the catalog with the tables; see `make_plan`."""
    with open_keys(tables) as keys:
        return make_plan(listing, keys, goal, partial=partial)
