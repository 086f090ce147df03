"""Functions that a model may call during a rollout, named by dotted path under `tools:`."""
