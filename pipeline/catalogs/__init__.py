"""Catalogs: what there is to label, what of it is new, and the plan of a run."""
