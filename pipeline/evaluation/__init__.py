"""Evaluation: metrics of a model under a named protocol, next to those of baselines."""
