"""Measurements: what things cost, and how the cost grows.  Nothing here is a test, and no test measures time."""
