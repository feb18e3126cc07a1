"""The commands, by what they are about; each imports its job when it runs."""
