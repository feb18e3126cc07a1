"""Evaluation: figures of a model by a named protocol, beside those of baselines."""
