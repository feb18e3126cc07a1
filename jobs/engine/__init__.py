"""The engine: a plan's work spread over Ray, every track ending once whatever dies."""

import os

# Ray prints each worker's death to stdout, where results go, whatever `log_to_driver` says; the engine deals
# with these. Ray reads this documented pattern of lines to skip when it is imported, which is done below.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
