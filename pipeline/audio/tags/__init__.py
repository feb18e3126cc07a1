"""Tags: read within bounds of time and memory, and genres written without harm to the file."""
