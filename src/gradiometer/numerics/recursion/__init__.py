"""Exact recursion: from a network's head back to its input by linear algebra on one averaged gradient."""
