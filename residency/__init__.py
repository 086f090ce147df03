"""Residency trains medical language models from recipes."""

__version__ = "0.1.0"
