"""Output: messages and progress on stderr, tables on stdout, and rows for other programs."""
