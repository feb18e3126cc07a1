"""Evaluation of models and architectures: the data that is tested, and the predictions for it."""
