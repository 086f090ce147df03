"""Data from elsewhere: fetched once, checked against its hash, unpacked within bounds.

A source is a mapping with the keys of a recipe's `sources:` entries (`residency.sources.spec`).
`fetch` brings it onto this disk and says what it brought.
"""

from residency.sources.fetch import Fetched, fetch
from residency.sources.spec import Source

__all__ = ["Fetched", "Source", "fetch"]
