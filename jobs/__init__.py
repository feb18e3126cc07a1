"""What is run: one module a job, the engine that spreads work over Ray, and the command line."""
