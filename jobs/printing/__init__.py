"""What commands print: results on stdout, progress and sentences on stderr."""
