"""Catalogs: what to label, what of it is new, and the plan of a run."""
