"""Training: labelled data in, a model bundle out."""
