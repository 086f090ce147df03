"""Data processors, one module a source, named by dotted path: processors.pubmed.read."""
