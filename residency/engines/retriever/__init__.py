"""The retrieval server as an engine of `kind: serve`."""
