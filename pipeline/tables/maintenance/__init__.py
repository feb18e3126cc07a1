"""Maintenance of the tables: verify, compact and vacuum."""
