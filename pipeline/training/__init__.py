"""Training: labeled data in, a model bundle out."""
