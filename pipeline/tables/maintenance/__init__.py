"""Maintenance of the tables: verify, compact, vacuum and purge."""
