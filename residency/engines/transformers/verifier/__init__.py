"""Trains a two-class model with transformers' Trainer: the engine of `kind: verifier`."""
