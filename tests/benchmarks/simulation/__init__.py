"""Runs the engine on a simulated Ray with a virtual clock; see `tests.benchmarks.simulate_scaling`."""
