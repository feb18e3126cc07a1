"""Care of the tables: they are checked, small parts merged, and what nothing refers to removed."""
