"""Trains the model ``default`` by distillation: see ``infra/distill/README.md``."""
