"""Answers to the rows of a dataset: asked of a server or of a model in process, kept, read, filtered."""
