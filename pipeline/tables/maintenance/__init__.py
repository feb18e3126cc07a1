"""Maintenance of tables: verify, compact, vacuum."""
