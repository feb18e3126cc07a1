"""What is done to the data: plain functions and small classes, without Ray, usable from a notebook."""
