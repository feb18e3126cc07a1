"""Trains the model ``small`` by distillation: see ``infra/distill/README.md``."""
