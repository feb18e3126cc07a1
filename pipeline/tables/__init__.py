"""Tables: reading and writing them, their current rows, and their SQL."""
