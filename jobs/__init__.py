"""Jobs: one module per job, the engine that runs work on Ray, and the command line."""
