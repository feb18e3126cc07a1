"""Training: from labeled data to a model bundle."""
