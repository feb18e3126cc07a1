"""Jobs: a module or a folder per job, the engine that runs work on Ray, and the command line."""
