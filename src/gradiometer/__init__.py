"""gradiometer: measures what federated learning really leaks, and what to do about it."""

__version__ = "0.1.0"
