"""The engine: a plan's work spread over Ray, every track ending once whatever dies."""
