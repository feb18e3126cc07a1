"""A run: the request, the work on Ray, and the accounting."""
