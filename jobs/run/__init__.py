"""A run: the request, the work on Ray, the accounting."""
