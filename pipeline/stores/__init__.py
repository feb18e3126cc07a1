"""Stores: local disk and object stores, believed only when they answer right, and tried again when not."""
