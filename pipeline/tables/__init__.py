"""Tables: reading and writing them, what holds now, and their SQL."""
