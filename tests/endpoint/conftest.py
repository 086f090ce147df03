"""The stub server of stub.py as a fixture."""

from openai_stub import serve

__all__ = ["serve"]
