"""Pages that jobs leave: of a run, of all runs, of one track."""
