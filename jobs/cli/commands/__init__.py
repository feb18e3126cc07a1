"""Commands: what each takes, and which job it calls."""
