"""Models: the networks, the bundles they are kept in, and their figures."""
