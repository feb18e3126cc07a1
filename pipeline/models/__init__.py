"""Models: networks, the bundles that store them, and their metrics."""
