"""What is done to the data: plain functions and small classes; no Ray, usable from a notebook."""
