"""Pictures of a track: what its plots are made of, and what carried its label."""
