"""Training data: importers of tables, CSV and array files."""
