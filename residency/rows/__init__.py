"""Rows of data: read from files, brought into a training format, split."""
