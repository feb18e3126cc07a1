"""Training data: importers of audio, tables, CSV and arrays."""
