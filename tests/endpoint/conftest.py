"""The stub server of stub.py as a fixture."""

from stub import serve

__all__ = ["serve"]
