"""Training of networks: its labeled data, and several trials on Ray."""
