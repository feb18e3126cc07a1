"""Publishing: the current labels with the facts of their tracks, as one table for other tools."""
