"""Readers and metrics of medical benchmarks: pure functions over questions and answers, no model."""
