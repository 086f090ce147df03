"""Carrying out a plan: run folders, the store of finished stages, processes, resume, lock files."""
