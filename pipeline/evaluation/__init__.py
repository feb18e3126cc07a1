"""Evaluation: figures of a model by a named protocol, with plain classifiers beside it."""
