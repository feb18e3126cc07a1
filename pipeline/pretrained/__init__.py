"""The trained models that ship with Earmark, one folder each."""
