"""Storage: local disk and object stores, with retries and integrity checks."""
