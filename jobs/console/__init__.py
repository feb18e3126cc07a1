"""What people read on a terminal: messages, progress, tables, and rows for programs."""
